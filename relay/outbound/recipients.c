/*
 * Which of a job's recipients go in its next transaction, and who is left for one more: a peer may
 * take fewer at a time than there are, or of fewer domains in a session (RFC 9422), and say so
 * beforehand or by 452 (checklist 66, 18). Whom it had no room for has no verdict, so it was no
 * attempt for him. Recipients that are decided stand in front, `first` of them; then those of the
 * transaction under way.
 */
#include "relay/base/must.h"
#include "relay/mail/verp.h"
#include "relay/outbound/conn.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>

/* Of one session, where the peer counts them; it ends when they are known. */
#define DOMAINS_MAX 1000

void out_rcpts_prepare(struct out_conn *c)
{
    struct out_work *w = c->load.job;
    struct slice host = slice_str(out_conn_host(c)->name);
    free(c->load.addresses);
    free(c->load.asks);
    c->load.addresses = must_alloc(w->n * sizeof *c->load.addresses);
    c->load.asks = must_alloc(w->n * sizeof *c->load.asks);
    if (!c->load.verdicts)
        c->load.verdicts = must_alloc(w->n * sizeof *c->load.verdicts);
    for (size_t i = 0; i < w->n; i++) {
        c->load.addresses[i] =
            c->dest->redirect[0] ? slice_str(c->dest->redirect) : buf_slice(&w->addresses[i]);
        bool trusted =
            !w->params.requiretls || out_trusts_host(c->dest, host, c->load.addresses[i]);
        c->load.asks[i] = (struct smtp_client_ask){
            .notify = w->notify ? w->notify[i] : 0,
            .orcpt = w->orcpts ? buf_slice(&w->orcpts[i]) : SLICE_NONE,
            .fault = trusted ? FAULT_NONE : FAULT_REQUIRETLS,
        };
    }
}

/* --- the peer's limits
 * ------------------------------------------------------------------------------------------------------------
 */

/* Recipient `from` stands at `to` then, and those between them one place further back. */
static void move_to_front(struct out_conn *c, size_t from, size_t to)
{
#define SWAP(array)                                                                                \
    do {                                                                                           \
        __typeof__(*(array)) was = (array)[i];                                                     \
        (array)[i] = (array)[i - 1];                                                               \
        (array)[i - 1] = was;                                                                      \
    } while (0)
    struct out_work *w = c->load.job;
    for (size_t i = from; i > to; i--) {
        SWAP(w->rcpts);
        SWAP(w->addresses);
        if (w->orcpts)
            SWAP(w->orcpts);
        if (w->notify)
            SWAP(w->notify);
        SWAP(c->load.addresses);
        SWAP(c->load.asks);
    }
#undef SWAP
}

/* The session has sent to this domain, or still may. */
static bool has_room_for(struct out_conn *c, struct slice domain)
{
    uint64_t most = smtp_client_peer(c->client)->rcpt_domain_max;
    if (most == 0)
        return true;
    for (size_t i = 0; i < c->n_domains; i++)
        if (slice_ieq(buf_slice(&c->domains[i]), domain))
            return true;
    if (c->n_domains >= most || c->n_domains >= DOMAINS_MAX)
        return false;
    c->domains = must_realloc(c->domains, (c->n_domains + 1) * sizeof *c->domains);
    c->domains[c->n_domains++] = buf_of(domain);
    return true;
}

void out_rcpts_forget_session(struct out_conn *c)
{
    for (size_t i = 0; i < c->n_domains; i++)
        buf_done(&c->domains[i]);
    free(c->domains);
    c->domains = NULL;
    c->n_domains = 0;
}

static bool wants_verp(const struct out_conn *c)
{
    return conf_wants_verp(c->conf, buf_slice(&c->load.job->sender), buf_slice(&c->load.job->user));
}

/* The reverse-path that names recipient i of the job; false, with an empty one: none does. */
static bool name_rcpt(const struct out_conn *c, size_t i, struct buf *ret)
{
    const struct out_work *w = c->load.job;
    *ret = BUF_MAX(SPOOLER_ADDRESS_SIZE);
    return wants_verp(c) && verp_write(ret, buf_slice(&w->sender), buf_slice(&w->addresses[i]),
                                       c->conf->verp_delimiters);
}

struct slice out_rcpts_sender(struct out_conn *c)
{
    buf_done(&c->load.verp);
    const bool named = name_rcpt(c, c->load.first, &c->load.verp);
    return named ? buf_slice(&c->load.verp) : buf_slice(&c->load.job->sender);
}

struct buf *out_rcpts_paths(struct out_conn *c, const struct verdict *v, size_t n)
{
    if (!wants_verp(c))
        return NULL;
    struct buf *paths = must_alloc(n * sizeof *paths);
    for (size_t i = 0; i < n; i++)
        if (v[i].phase >= PHASE_MAIL) /* else nobody was told of it */
            name_rcpt(c, i, &paths[i]);
    return paths;
}

bool out_rcpts_choose(struct out_conn *c)
{
    uint64_t most = wants_verp(c) ? 1 : smtp_client_peer(c->client)->rcpt_max;
    size_t left = c->load.job->n - c->load.first;
    size_t room = most > 0 && most < left ? (size_t)most : left;
    c->load.n_now = 0;
    for (size_t i = c->load.first; i < c->load.job->n && c->load.n_now < room; i++)
        if (has_room_for(c, slice_behind_last(c->load.addresses[i], '@')))
            move_to_front(c, i, c->load.first + c->load.n_now++);
    return c->load.n_now > 0;
}

/* --- what a transaction decided
 * ------------------------------------------------------------------------------------------------------------
 */

/* Final for this host only: while another may do better, one that did not answer or one that is not
 * asked yet (some recipients went here), it passes. */
static struct verdict softened(const struct out_conn *c, const struct verdict *v)
{
    struct verdict copy = verdict_copy(v);
    bool hope = c->jobs > 1 || out_dial_more(c) || c->failure.kind == VERDICT_DEFERRED;
    if (out_is_inability(v) && hope) {
        copy.kind = VERDICT_DEFERRED;
        copy.enhanced.class = 4;
    }
    return copy;
}

/* The message came to its end for somebody: with every transaction that is repeated there is one
 * recipient less. */
static bool brought_forward(const struct verdict *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].kind == VERDICT_DELIVERED ||
            (v[i].kind == VERDICT_FAILED && v[i].phase == PHASE_EOD))
            return true;
    return false;
}

void out_rcpts_settle(struct out_conn *c, const struct verdict *v, size_t n)
{
    bool again = brought_forward(v, n);
    size_t start = c->load.first;
    for (size_t i = 0; i < n; i++) {
        if (again && smtp_trouble_is_no_room(&v[i]))
            continue;
        move_to_front(c, start + i, c->load.first);
        c->load.verdicts[c->load.first++] = softened(c, &v[i]);
    }
}
