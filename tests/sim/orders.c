/* What the core orders of the net loops and a resolver, a bounce writer and connections do with it.
 */
#include "queue/id.h"
#include "relay/base/must.h"
#include "relay/mail/dsn.h"
#include "tests/sim/sim.h"
#include <stdlib.h>

struct sim_plan {
    struct frozen frozen;
};

static void plan_free(struct frozen *f)
{
    free(f);
}

/* dN.test and eN.test share site N; a route leads to site 9; "nx.test" does not exist; the resolver
 * fails now and then. */
static void resolve(struct sim *s, struct out_resolve *q)
{
    struct spooler_plan *p = must_alloc(sizeof *p);
    struct slice domain = buf_slice(&q->domain);
    p->domain = buf_of(domain);
    p->limits = (struct sched_limits){.connections = 1 + (unsigned)sim_below(s, 6),
                                      .messages_per_connection = (unsigned)sim_below(s, 4),
                                      .recipients_per_message = 100};
    p->ttl_ms = (int64_t)sim_below(s, 2 * 3600 * 1000);
    if (slice_eq(domain, SLICE_LIT("nx.test"))) {
        p->failed = verdict_of_fault(FAULT_DNS_NXDOMAIN, PHASE_NONE, domain);
    } else if (sim_chance(s, 5)) {
        p->failed = verdict_of_fault(FAULT_DNS_SERVFAIL, PHASE_NONE, domain);
    } else {
        struct sim_plan *plan = must_alloc(sizeof *plan);
        frozen_init(&plan->frozen, plan_free);
        p->plan = &plan->frozen;
        p->site = buf_of(domain.n == 7 ? slice_of(domain.p + 1, 1) : SLICE_LIT("9"));
        p->destination = buf_of(SLICE_LIT("default"));
    }
    sim_request(s, &p->msg, SPOOLER_PLAN);
    spooler_order_free(&q->msg);
}

static void write_dsn(struct sim *s, struct sim_message *m, const struct out_dsn *d)
{
    static const enum dsn_action actions[] = {[OUT_DSN_FAILED] = DSN_FAILED,
                                              [OUT_DSN_DELAYED] = DSN_DELAYED,
                                              [OUT_DSN_RELAYED] = DSN_RELAYED,
                                              [OUT_DSN_DELIVERED] = DSN_DELIVERED};
    struct dsn_recipient rcpts[SIM_RCPTS_MAX] = {0};
    struct sim_message *about = sim_find(s, d->message_id);
    char of[QUEUE_ID_SIZE];
    queue_id_write(d->message_id, of);
    MUST(d->n <= SIM_RCPTS_MAX && about);
    for (size_t i = 0; i < d->n; i++) {
        rcpts[i] = (struct dsn_recipient){.address = buf_slice(&d->rcpts[i].address),
                                          .action = actions[d->rcpts[i].what],
                                          .status = d->rcpts[i].status,
                                          .verdict = &d->rcpts[i].verdict,
                                          .last_attempt = d->rcpts[i].last_attempt};
        for (unsigned k = 0; k < about->n_rcpts; k++)
            if (slice_eq(rcpts[i].address, slice_str(about->rcpts[k])))
                m->about[k] = 1 + d->rcpts[i].what;
    }
    struct dsn_input in = {.reporting_mta = SLICE_LIT("relay.test"),
                           .postmaster = SLICE_LIT("postmaster@relay.test"),
                           .to = buf_slice(&d->to),
                           .queue_id = slice_str(of),
                           .report_id = SLICE_LIT("<report@relay.test>"),
                           .boundary = SLICE_LIT("=_sim"),
                           .arrived = d->queued,
                           .now = sim_wall(s),
                           .rcpts = rcpts,
                           .n_rcpts = d->n,
                           .original = slice_of(d->original->bytes, d->original->n)};
    buf_addf(&m->content, "X-Sim: %u\r\n", m->number);
    if (!dsn_write(&m->content, &in))
        sim_fail(s, "a DSN did not fit");
}

/* Now and then it is forgotten: the core has to ask again. */
static void report(struct sim *s, struct out_dsn *d)
{
    struct sim_message *about = sim_find(s, d->message_id);
    if (!about) {
        sim_fail(s, "a DSN is wanted for an unknown message");
    } else if (slice_eq(buf_slice(&d->to), SLICE_LIT(""))) {
        sim_fail(s, "a DSN is wanted for the null sender");
    } else if (!sim_chance(s, 15) && s->n_messages < SIM_MESSAGES_MAX) {
        struct sim_message *m = sim_message_new(s);
        m->dsn = true;
        m->about_id = d->message_id;
        m->serial = d->serial;
        m->n_rcpts = 1;
        MUST(d->to.n < sizeof m->rcpts[0]);
        memcpy(m->rcpts[0], d->to.p, d->to.n);
        write_dsn(s, m, d);
        link_store(s, NULL, m, d->message_id);
    }
    out_dsn_free(d);
}

void sim_order(struct sim *s, struct msg *m)
{
    void *v = m;
    switch ((enum out_type)m->type) {
    case OUT_RESOLVE:
        resolve(s, v);
        return;
    case OUT_WORK:
    case OUT_CLOSE:
        link_order(s, v);
        return;
    case OUT_DSN:
        report(s, v);
        return;
    }
}
