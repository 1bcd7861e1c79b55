/* Two machines and the wire between them: front links carry a submitter to the relay, back links
 * the relay to a receiver. */
#include "tests/sim/link.h"
#include "queue/id.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

static const struct smtp_client_conf client_conf = {.helo = {(const uint8_t *)"client.test", 11},
                                                    .tls = SMTP_TLS_NONE};
/* What servers offer: a word at a time, a message ahead of the other's answer, a message at once.
 */
#define OFFERING(set)                                                                              \
    {                                                                                              \
        .hostname = {(const uint8_t *)"server.test", 11}, .extensions = (set),                     \
        .max_message_size = 10u << 20, .max_recipients = 100, .max_errors = 10,                    \
        .max_auth_failures = 3, .command_timeout_ms = 300000, .data_timeout_ms = 180000            \
    }
static const struct smtp_server_conf server_confs[] = {OFFERING(0), OFFERING(SMTP_PIPELINING),
                                                       OFFERING(SMTP_PIPELINING | SMTP_CHUNKING)};

static void wake_in(struct sim *s, struct link *l, int64_t us)
{
    heap_set(&s->timers, &l->timer->heap_index, s->now_us + us);
}

void link_wake(struct sim *s, struct link *l)
{
    wake_in(s, l, (int64_t)sim_below(s, 15000));
}

static struct link *link_new(struct sim *s, bool front)
{
    struct link *l = must_alloc(sizeof *l);
    l->front = front;
    l->client = smtp_client_new(&client_conf, sim_mono(s));
    l->server = smtp_server_new(&server_confs[sim_below(s, 3)], false, sim_mono(s));
    l->up = l->down = l->content = BUF_MAX(2u << 20);
    l->bytes_left = sim_chance(s, 8) ? (int64_t)sim_below(s, 3000) : INT64_MAX;
    l->timer = sim_after(s, (int64_t)sim_below(s, 50000), T_LINK, l);
    DL_APPEND(s->links, l);
    return l;
}

static void link_free(struct sim *s, struct link *l)
{
    DL_DELETE(s->links, l);
    link_leave(l);
    struct out_work *const held[] = {l->job, l->front_job, l->later};
    for (unsigned i = 0; i < 3; i++)
        if (held[i])
            out_work_free(held[i]);
    smtp_client_free(l->client);
    smtp_server_free(l->server);
    buf_done(&l->up);
    buf_done(&l->down);
    buf_done(&l->content);
    sim_cancel(s, l->timer);
    free(l);
}

void links_drop_all(struct sim *s)
{
    while (s->links)
        link_free(s, s->links);
}

/* --- the relay
 * ------------------------------------------------------------------------------------- */

static void front_action(struct sim *s, struct link *l, const struct smtp_server_action *a)
{
    static const struct smtp_reply ok = {250, {2, 1, 0}, {(const uint8_t *)"Ok", 2}};
    if (a->act == SRV_ASK_MAIL || a->act == SRV_ASK_RCPT) {
        smtp_server_answer(l->server, &ok, sim_mono(s));
    } else if (a->act == SRV_COMMIT) {
        if (!slice_eq(buf_slice(&l->content), buf_slice(&l->message->content)))
            sim_fail(s, "message %u came in changed: %zu, %zu bytes", l->message->number,
                     l->content.n, l->message->content.n);
        link_store(s, l, l->message, 0);
    }
}

/* --- the receiver
 * ---------------------------------------------------------------------------------------------- */

static struct sim_message *message_in(struct sim *s, const struct link *l)
{
    struct slice rest = buf_slice(&l->content), line = slice_cut(&rest, '\r');
    uint64_t number;
    if (!slice_starts(line, SLICE_LIT("X-Sim: ")) ||
        !slice_u64(slice_skip(line, 7), SIM_MESSAGES_MAX - 1, &number) || number >= s->n_messages ||
        !slice_eq(buf_slice(&l->content), buf_slice(&s->messages[number].content))) {
        sim_fail(s, "a receiver got what nobody sent");
        return NULL;
    }
    return &s->messages[number];
}

static void arrive(struct sim *s, const struct link *l, struct sim_message *m)
{
    for (unsigned i = 0; i < l->n_rcpts; i++) {
        unsigned r = 0;
        while (r < m->n_rcpts && strcmp(m->rcpts[r], l->rcpts[i]) != 0)
            r++;
        if (r == m->n_rcpts) {
            sim_fail(s, "message %u came to %s", m->number, l->rcpts[i]);
            return;
        }
        m->arrived[r]++;
        sim_say(s, "message %u recipient %u arrived by connection %llu", m->number, r,
                (unsigned long long)l->conn);
    }
}

static void take_commit(struct sim *s, struct link *l)
{
    struct sim_message *m = message_in(s, l);
    if (!m)
        return;
    struct smtp_reply reply = SMTP_REPLY(250, 2, 0, 0, "Ok: queued as R-1");
    if (sim_chance(s, 4))
        reply = SMTP_REPLY(451, 4, 3, 0, "try later");
    else if (!m->dsn && sim_chance(s, 3))
        reply = SMTP_REPLY(554, 5, 6, 0, "not this one");
    else if (sim_chance(s, 3))
        reply = SMTP_REPLY(421, 4, 7, 0, "enough");
    else
        arrive(s, l, m);
    if (sim_chance(s, 4))
        l->bytes_left = (int64_t)sim_below(s, 3);
    else if (sim_chance(s, 3))
        l->silent = true;
    smtp_server_answer(l->server, &reply, sim_mono(s));
}

static struct smtp_reply ask_rcpt(struct sim *s, struct link *l, struct slice path)
{
    if (slice_starts(path, SLICE_LIT("bad")))
        return SMTP_REPLY(550, 5, 1, 1, "no such user");
    if (slice_starts(path, SLICE_LIT("slow")) && sim_chance(s, 50))
        return SMTP_REPLY(450, 4, 2, 1, "come again");
    if (sim_chance(s, 3))
        return SMTP_REPLY(452, 4, 5, 3, "too many");
    MUST(l->n_rcpts < SIM_RCPTS_MAX && path.n < sizeof l->rcpts[0]);
    memset(l->rcpts[l->n_rcpts], 0, sizeof l->rcpts[0]);
    memcpy(l->rcpts[l->n_rcpts++], path.p, path.n);
    return SMTP_REPLY(250, 2, 1, 5, "Ok");
}

static void back_action(struct sim *s, struct link *l, const struct smtp_server_action *a)
{
    struct smtp_reply reply = SMTP_REPLY(250, 2, 1, 0, "Ok");
    if (a->act == SRV_ASK_MAIL) {
        l->n_rcpts = 0;
        if (sim_chance(s, 4))
            reply = sim_chance(s, 50) ? SMTP_REPLY(451, 4, 7, 1, "not now")
                                      : SMTP_REPLY(421, 4, 7, 0, "too fast");
        smtp_server_answer(l->server, &reply, sim_mono(s));
    } else if (a->act == SRV_ASK_RCPT) {
        reply = ask_rcpt(s, l, a->rcpt->path);
        smtp_server_answer(l->server, &reply, sim_mono(s));
    } else if (a->act == SRV_COMMIT) {
        take_commit(s, l);
    }
}

static void server_actions(struct sim *s, struct link *l)
{
    struct smtp_server_action a;
    while (smtp_server_next(l->server, &a)) {
        if (a.act == SRV_BODY) {
            buf_add(&l->content, a.body);
            smtp_server_body_taken(l->server, sim_mono(s));
        } else if (a.act == SRV_ASK_MAIL || a.act == SRV_ABORT) {
            buf_reset(&l->content);
        } else if (a.act == SRV_CLOSE) {
            l->closed_by_server = true;
        }
        if (l->front)
            front_action(s, l, &a);
        else
            back_action(s, l, &a);
    }
}

/* --- the client side
 * --------------------------------------------------------------------------------------------- */

static void send_result(struct sim *s, const struct link *l, struct out_work *w,
                        const struct verdict *verdicts, bool one_for_all, bool ready)
{
    struct spooler_result *r = must_alloc(sizeof *r);
    r->conn = w->conn;
    r->ready = ready;
    r->attempted = verdicts != NULL;
    r->dsn_passed_on = r->deliver_by_passed_on = asked_passes_on(buf_slice(&w->site));
    r->message_id = w->message_id;
    r->n = w->n;
    r->rcpts = must_alloc(w->n * sizeof *r->rcpts);
    r->verdicts = must_alloc(w->n * sizeof *r->verdicts);
    r->attempt.mx_host = buf_of(SLICE_LIT("mx.test"));
    r->attempt.reused = l && l->begun;
    struct sim_message *m = sim_find(s, w->message_id);
    for (size_t i = 0; i < r->n; i++) {
        r->rcpts[i] = w->rcpts[i];
        if (!verdicts)
            continue;
        r->verdicts[i] = verdict_copy(&verdicts[one_for_all ? 0 : i]);
        bool doubt = r->verdicts[i].fault == FAULT_CONN_LOST_EOD ||
                     r->verdicts[i].fault == FAULT_SMTP_TIMEOUT_EOD;
        m->in_doubt[w->rcpts[i]] += doubt;
    }
    for (size_t i = 0; !verdicts && i < w->n; i++)
        m->settled[w->rcpts[i]]++;
    sim_request(s, &r->msg, SPOOLER_RESULT);
    out_work_free(w);
}

static void send_gone(struct sim *s, uint64_t conn)
{
    struct spooler_conn_gone *g = must_alloc(sizeof *g);
    g->conn = conn;
    sim_request(s, &g->msg, SPOOLER_CONN_GONE);
}

static void begin(struct sim *s, struct link *l)
{
    bool behind = l->front_job != NULL;
    l->ready = false;
    l->begun = true;
    if (l->front) {
        const struct sim_message *m = l->message;
        for (unsigned i = 0; i < m->n_rcpts; i++)
            l->rcpt_slices[i] = slice_str(m->rcpts[i]);
        l->txn = (struct smtp_client_txn){.sender = slice_str(m->sender),
                                          .rcpts = l->rcpt_slices,
                                          .n_rcpts = m->n_rcpts,
                                          .size = m->content.n};
        l->to_send = buf_slice(&m->content);
    } else {
        struct out_work *w = l->job;
        MUST(w->n <= SIM_RCPTS_MAX && w->body);
        asked_attempt(s, w);
        words_begin(s, w);
        for (size_t i = 0; i < w->n; i++)
            l->rcpt_slices[i] = buf_slice(&w->addresses[i]);
        l->txn = (struct smtp_client_txn){.sender = buf_slice(&w->sender),
                                          .rcpts = l->rcpt_slices,
                                          .n_rcpts = w->n,
                                          .size = w->size,
                                          .eight_bit = w->eight_bit};
        l->to_send = slice_of(w->body->bytes, w->body->n);
    }
    if (behind)
        smtp_client_begin_behind(l->client, &l->txn, sim_mono(s));
    else
        smtp_client_begin(l->client, &l->txn, sim_mono(s));
    l->behind = behind;
}

/* The dot is out: the core is asked for one more, and what came is begun behind it, or goes back.
 */
static void look_ahead(struct sim *s, struct link *l)
{
    bool can = l->begun && l->job && !l->front_job && smtp_client_takes_another(l->client);
    if (can && !l->asked && sim_chance(s, 70)) {
        struct spooler_ahead *a = must_alloc(sizeof *a);
        a->conn = l->conn;
        l->asked = true;
        l->thinks = (unsigned)sim_below(s, 20); /* the receiver: there is time for one */
        sim_say(s, "connection %llu asks for a job ahead", (unsigned long long)l->conn);
        sim_request(s, &a->msg, SPOOLER_AHEAD);
    } else if (can && l->later && sim_chance(s, 80)) {
        l->front_job = l->job;
        l->job = TAKE_PTR(l->later);
        sim_say(s, "connection %llu: a job goes ahead", (unsigned long long)l->conn);
        begin(s, l);
    } else if (l->front_job && sim_chance(s, 3)) {
        smtp_client_take_back(l->client);
        send_result(s, l, TAKE_PTR(l->job), NULL, false, false);
        l->job = TAKE_PTR(l->front_job);
        l->behind = false;
    } else if (l->later && !l->ready && sim_chance(s, 3)) {
        send_result(s, l, TAKE_PTR(l->later), NULL, false, false);
    }
}

/* The session ended with the dot in front of it. */
static bool is_undecided(const struct link *l, const struct smtp_client_action *a)
{
    return l->behind && !a->reusable && a->verdicts[0].fault == FAULT_CONN_LOST &&
           a->verdicts[0].phase == PHASE_MAIL;
}

static void txn_done(struct sim *s, struct link *l, const struct smtp_client_action *a)
{
    if (!l->front) {
        struct out_work **job = l->front_job ? &l->front_job : &l->job;
        bool undecided = !l->front_job && is_undecided(l, a);
        send_result(s, l, TAKE_PTR(*job), undecided ? NULL : a->verdicts, false, a->reusable);
        l->asked = false;
        if (sim_chance(s, 20)) /* it may cross the next job */
            l->shutdown_us = s->now_us + (int64_t)sim_below(s, 150000);
        return;
    }
    for (size_t i = 0; i < a->n; i++)
        if (a->verdicts[i].kind == VERDICT_DELIVERED && !l->message->answered)
            sim_fail(s, "message %u: its author heard 250 before the sync", l->message->number);
}

static void client_ready(struct sim *s, struct link *l)
{
    l->ready = true;
    if (!l->job)
        l->job = TAKE_PTR(l->later);
    if (l->front ? !l->begun : l->job != NULL)
        begin(s, l);
    else if (l->front)
        smtp_client_quit(l->client, sim_mono(s));
}

static void client_actions(struct sim *s, struct link *l)
{
    struct smtp_client_action a;
    while (smtp_client_next(l->client, &a)) {
        switch (a.act) {
        case CLI_STARTTLS:
            sim_fail(s, "TLS where none is offered");
            return;
        case CLI_LOGIN:
            sim_fail(s, "a login that nobody wants");
            return;
        case CLI_READY:
            client_ready(s, l);
            break;
        case CLI_BODY: {
            size_t n = sim_chance(s, 50) ? l->to_send.n : sim_below(s, l->to_send.n + 1);
            struct slice piece = slice_head(l->to_send, n);
            l->to_send = slice_skip(l->to_send, n);
            smtp_client_body(l->client, piece, l->to_send.n == 0, sim_mono(s));
            break;
        }
        case CLI_TXN_DONE:
            txn_done(s, l, &a);
            break;
        case CLI_FAILED:
            if (l->job)
                send_result(s, l, TAKE_PTR(l->job), a.verdict, true, false);
            break;
        case CLI_CLOSE:
            l->over = true;
            break;
        }
    }
}

/* --- the wire
 * ------------------------------------------------------------------------------------------------------
 */

enum { WIRE_MAX = 8192 }; /* a moment's bytes */

static size_t chunk(struct sim *s, struct link *l, size_t n)
{
    size_t small = n > 10000 ? 20000 : sim_chance(s, 50) ? 5 : 300;
    size_t some = sim_chance(s, 60) ? n : 1 + (size_t)sim_below(s, small);
    some = some < n ? some : n;
    some = some < WIRE_MAX ? some : WIRE_MAX;
    if ((int64_t)some > l->bytes_left)
        some = (size_t)l->bytes_left;
    if (l->bytes_left != INT64_MAX)
        l->bytes_left -= (int64_t)some;
    return some;
}

static bool carry_up(struct sim *s, struct link *l)
{
    struct slice out = smtp_client_output(l->client);
    size_t n = chunk(s, l, out.n), taken;
    buf_add(&l->up, slice_head(out, n));
    smtp_client_sent(l->client, n, sim_mono(s));
    bool moved = n > 0;
    if (!l->front && !l->over)
        look_ahead(s, l);
    if (l->silent)
        return moved;
    if (l->thinks > 0) {
        l->thinks--;
        return true;
    }
    do {
        taken = smtp_server_bytes(l->server, buf_slice(&l->up), sim_mono(s));
        server_actions(s, l); /* content still points into what was taken */
        buf_drop(&l->up, taken);
        moved = moved || taken;
    } while (taken && l->up.n && !s->failed);
    return moved;
}

static bool carry_down(struct sim *s, struct link *l)
{
    struct slice out = l->silent ? SLICE_NONE : smtp_server_output(l->server);
    size_t n = chunk(s, l, out.n), taken;
    buf_add(&l->down, slice_head(out, n));
    if (n)
        smtp_server_sent(l->server, n);
    bool moved = n > 0;
    client_actions(s, l);
    do {
        taken = smtp_client_bytes(l->client, buf_slice(&l->down), sim_mono(s));
        client_actions(s, l);
        buf_drop(&l->down, taken);
        moved = moved || taken;
    } while (taken && l->down.n && !s->failed);
    return moved;
}

static void lose(struct sim *s, struct link *l, const char *why)
{
    if (!l->over)
        smtp_client_lost(l->client, slice_str(why), sim_mono(s));
    client_actions(s, l);
    l->over = true;
}

static void end(struct sim *s, struct link *l)
{
    if (!l->front) {
        MUST(!l->front_job);
        if (l->job)
            send_result(s, l, TAKE_PTR(l->job), NULL, false, false);
        if (l->later)
            send_result(s, l, TAKE_PTR(l->later), NULL, false, false);
        send_gone(s, l->conn);
    }
    smtp_server_eof(l->server);
    link_free(s, l);
}

static void tick(struct sim *s, struct link *l)
{
    struct mono now = sim_mono(s);
    if (mono_reached(smtp_client_deadline(l->client), now))
        smtp_client_tick(l->client, now);
    client_actions(s, l);
    if (!l->silent && mono_reached(smtp_server_deadline(l->server), now))
        smtp_server_tick(l->server, now);
    server_actions(s, l);
}

static void sleep_until_needed(struct sim *s, struct link *l)
{
    struct mono at = smtp_client_deadline(l->client);
    if (!l->silent)
        at = mono_min(at, smtp_server_deadline(l->server));
    if (at.ms != MONO_NEVER.ms)
        wake_in(s, l, (at.ms - sim_mono(s).ms + 1) * 1000);
    if (l->shutdown_us > s->now_us)
        wake_in(s, l, l->shutdown_us - s->now_us);
}

void link_step(struct sim *s, struct link *l)
{
    heap_drop(&s->timers, &l->timer->heap_index);
    if (l->shutdown_us && s->now_us >= l->shutdown_us) {
        smtp_server_shutdown(l->server, sim_mono(s));
        l->shutdown_us = 0;
    }
    tick(s, l);
    bool moved = carry_up(s, l);
    moved = carry_down(s, l) || moved;
    if (l->bytes_left <= 0)
        lose(s, l, "connection reset");
    else if (l->closed_by_server && !l->over && smtp_server_output(l->server).n == 0 && !moved)
        lose(s, l, "connection closed");
    if (l->over)
        end(s, l);
    else if (moved)
        link_wake(s, l);
    else
        sleep_until_needed(s, l);
}

/* --- beginnings
 * ------------------------------------------------------------------------------------------------------
 */

static void write_content(struct sim *s, struct sim_message *m)
{
    buf_addf(&m->content, "X-Sim: %u\r\nSubject: sim\r\n\r\n", m->number);
    for (uint64_t lines =
             sim_below(s, sim_chance(s, 10) ? 400 : 20) + (sim_chance(s, 4) ? 4000 : 0);
         lines > 0; lines--) {
        for (uint64_t dots = sim_below(s, 3); dots > 0; dots--)
            buf_add_str(&m->content, ".");
        for (uint64_t n = sim_below(s, 70); n > 0; n--)
            buf_add_u8(&m->content, (uint8_t)(' ' + sim_below(s, 95)));
        buf_add_str(&m->content, "\r\n");
    }
}

void link_submit(struct sim *s, struct sim_message *m)
{
    write_content(s, m);
    struct link *l = link_new(s, true);
    l->message = m;
}

static struct link *find_conn(struct sim *s, uint64_t conn)
{
    struct link *l;
    DL_FOREACH (s->links, l) {
        if (!l->front && l->conn == conn)
            return l;
    }
    return NULL;
}

static void open_back(struct sim *s, struct out_work *w)
{
    uint64_t site = SIM_SITES, conn = w->conn;
    slice_u64(buf_slice(&w->site), 9, &site);
    bool down = site < SIM_SITES && s->now_us < s->down_until_us[site];
    if (down || sim_chance(s, 4)) {
        struct verdict v = verdict_of_fault(down ? FAULT_CONNECT_TIMEOUT : FAULT_CONNECT_REFUSED,
                                            PHASE_CONNECT, SLICE_NONE);
        send_result(s, NULL, w, &v, true, false);
        verdict_done(&v);
        send_gone(s, conn);
        return;
    }
    struct link *l = link_new(s, false);
    l->conn = conn;
    l->job = w;
    if (sim_chance(s, 4))
        l->shutdown_us = s->now_us + (int64_t)sim_below(s, 300000);
}

void link_unreadable(struct sim *s, struct out_work *w)
{
    struct verdict v = verdict_of_fault(FAULT_LOCAL, PHASE_NONE, SLICE_NONE);
    struct link *l = w->open ? NULL : find_conn(s, w->conn);
    uint64_t conn = w->conn;
    bool open = w->open;
    send_result(s, l, w, &v, true, l != NULL);
    verdict_done(&v);
    if (open)
        send_gone(s, conn);
}

void link_order(struct sim *s, struct out_work *w)
{
    if (w->msg.type == OUT_WORK && !w->body) {
        content_fetch(s, w);
        return;
    }
    struct link *l = find_conn(s, w->conn);
    if (w->msg.type == OUT_CLOSE) {
        if (l && l->ready)
            smtp_client_quit(l->client, sim_mono(s));
        if (l)
            link_wake(s, l);
        out_work_free(w);
    } else if (w->open) {
        open_back(s, w);
    } else if (!l) {
        send_result(s, NULL, w, NULL, false,
                    false); /* it was closed meanwhile; that has been said */
    } else {
        MUST(!l->later && !l->front_job && (!l->job || l->asked));
        *(l->job ? &l->later : &l->job) = w;
        if (l->ready)
            begin(s, l);
        link_wake(s, l);
    }
}
