/* What the spool's tests share: a spool on the fake disk, messages made from a number, and a
 * message as text, so that two can be compared. */
#pragma once
#include "queue/id.h"
#include "queue/spool.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "tests/sim/fake_disk.c"
#include "tests/sim/fake_files.c"
#include "tests/sim/fake_ops.c"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#define NOW ((struct wall){INT64_C(1800000000) * WALL_SECOND})

static inline struct spool *kit_open(struct fake_disk *d, uint64_t segment_bytes,
                                     struct spool_report *ret)
{
    struct spool_options o = {
        .segment_bytes = segment_bytes, .lifetime_s = 86400, .node = SLICE_LIT("test")};
    struct spool *s = NULL;
    struct spool_report report;
    struct err e = {0};
    int rc = spool_open(&s, fake_disk_ops(d), &o, ret ? ret : &report, &e);
    if (rc < 0)
        print_error("open: %d %s\n", rc, e.text);
    assert_int_equal(rc, 0);
    return s;
}

/* Body of a message: bytes that follow from its id. */
static inline struct body *kit_body(uint64_t id, size_t n)
{
    struct body *b = body_new(n);
    struct rng r;
    rng_seed(&r, id);
    for (size_t i = 0; i < n; i++)
        b->bytes[i] = (uint8_t)rng_next(&r);
    return b;
}

static inline bool kit_body_is(const struct body *b, uint64_t id, size_t n)
{
    struct body *want = kit_body(id, n);
    bool same = b->n == n && memcmp(b->bytes, want->bytes, n) == 0;
    body_unref(want);
    return same;
}

static inline int kit_read(struct spool *s, const struct message *m, struct body **ret)
{
    struct spool_read *r = spool_read_new(s, m, 0, SIZE_MAX);
    int rc = spool_read_run(r, ret);
    spool_read_free(s, r);
    return rc;
}

/* What is not needed any more leaves the disk. */
static inline void kit_sweep(struct spool *s)
{
    for (struct spool_task *t; (t = spool_task_take(s, true));) {
        spool_task_run(t);
        spool_task_end(s, t);
    }
}

/* One group commit, and what it made superfluous goes; 0 also when there was nothing to do. */
static inline int kit_commit(struct spool *s, void (*each_event)(void *, const struct event *),
                             void *ctx, void (*each_failed)(void *, uint64_t))
{
    struct spool_batch *b = spool_batch_take(s);
    struct err e = {0};
    int rc = 0;
    if (b) {
        spool_batch_run(b);
        rc = spool_batch_end(s, b, each_event, ctx, each_failed, &e);
        assert_false(spool_settle(s, SIZE_MAX, each_event, ctx));
    }
    kit_sweep(s);
    return rc;
}

/* Housekeeping until there is none for now; true: something was done. What it brings wants a
 * commit. */
static inline bool kit_tasks(struct spool *s)
{
    bool done = false, more = true;
    for (struct spool_task *t; more && (t = spool_task_take(s, false)); done = true) {
        spool_task_run(t);
        more = spool_task_end(s, t);
    }
    return done;
}

/* Housekeeping and commits until neither has anything to do. */
static inline void kit_settle(struct spool *s)
{
    for (bool more = true; more;) {
        more = kit_tasks(s);
        struct spool_batch *b = spool_batch_take(s);
        if (!b)
            continue;
        struct err e = {0};
        spool_batch_run(b);
        assert_int_equal(spool_batch_end(s, b, NULL, NULL, NULL, &e), 0);
        spool_settle(s, SIZE_MAX, NULL, NULL);
        more = true;
    }
}

static inline void kit_dump_slice(struct buf *out, const char *key, struct slice v)
{
    buf_addf(out, " %s=", key);
    buf_add(out, v);
}

static inline void kit_dump_rcpt(struct buf *out, const struct recipient *r)
{
    kit_dump_slice(out, "\n  to", recipient_address(r));
    kit_dump_slice(out, "orcpt", recipient_orcpt(r));
    if (r->notify)
        buf_addf(out, " notify=%u", r->notify);
    buf_addf(out, " state=%u attempts=%u due=%lld last=%lld dsn=%d", r->state, r->attempts,
             (long long)r->due.us, (long long)r->last_attempt.us, r->dsn_due);
    kit_dump_slice(out, "host", recipient_host(r));
    if (recipient_redirected(r).n)
        kit_dump_slice(out, "redirected", recipient_redirected(r));
    const struct verdict *v = recipient_last(r);
    if (v)
        buf_addf(out, " verdict=%d/%d/%d/%d/%d/%u/%u.%u.%u/%d/%s", v->kind, v->scope, v->class,
                 v->phase, v->fault, v->code, v->enhanced.class, v->enhanced.subject,
                 v->enhanced.detail, v->text_truncated, v->text ? v->text : "-");
}

static inline bool kit_asks(const struct message *m)
{
    struct mail_params p = message_params(m);
    return p.body || p.ret || p.by || p.by_trace || p.smtputf8 || p.requiretls || p.tls_optional ||
           p.priority || m->has_release || m->has_by_deadline || m->has_tags || m->has_route ||
           m->dsn_delay || m->delay_told;
}

/* What MAIL asked for. */
static inline void kit_dump_asked(struct buf *out, const struct message *m)
{
    struct mail_params p = message_params(m);
    if (!kit_asks(m))
        return;
    buf_addf(out, " body=%d ret=%d by=%d/%d utf8=%d rtls=%d tlsopt=%d prio=%d", p.body, p.ret, p.by,
             p.by_trace, p.smtputf8, p.requiretls, p.tls_optional, p.priority);
    buf_addf(out, " release=%lld deadline=%lld", (long long)message_release(m).us,
             (long long)message_by_deadline(m).us);
    kit_dump_slice(out, "tags", message_tags(m));
    kit_dump_slice(out, "route", message_route(m));
    buf_addf(out, " tells_delay=%d delay_told=%d", m->dsn_delay, m->delay_told);
}

/* Everything that must survive in the index; who handed it in is in its record and its event. */
static inline void kit_dump(struct buf *out, const struct message *m)
{
    buf_addf(out,
             "%llu queued=%lld expires=%lld n=%u left=%u size=%llu eight=%d dsn_for=%llu file=%d",
             (unsigned long long)m->id, (long long)m->queued.us, (long long)message_expires(m).us,
             m->n_rcpts, m->n_left, (unsigned long long)m->size, m->eight_bit,
             (unsigned long long)message_dsn_for(m), m->in_file);
    kit_dump_slice(out, "from", message_sender(m));
    kit_dump_slice(out, "user", message_user(m));
    kit_dump_slice(out, "mid", message_message_id(m));
    kit_dump_slice(out, "envid", message_envid(m));
    kit_dump_asked(out, m);
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        assert_ptr_equal(recipient_message(&m->rcpts[i]), m);
        assert_int_equal(m->rcpts[i].number, i);
        kit_dump_rcpt(out, &m->rcpts[i]);
    }
}

static inline char *kit_dump_text(const struct message *m)
{
    struct buf out = BUF_MAX(SIZE_MAX / 2);
    kit_dump(&out, m);
    return (char *)(uintptr_t)buf_str(&out);
}

/* The whole index as one text. */
static inline char *kit_dump_all(struct spool *s)
{
    struct buf out = BUF_MAX(SIZE_MAX / 2);
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id)) {
        assert_ptr_equal(spool_find(s, m->id), m);
        kit_dump(&out, m);
        buf_add_str(&out, "\n");
    }
    return (char *)(uintptr_t)buf_str(&out);
}

/* By chance, of this id: nothing, one thing or several that MAIL and RCPT may ask for. Texts are
 * literals. */
static inline void kit_ask(struct envelope *e, struct envelope_rcpt *rcpts, uint64_t id)
{
    static const unsigned notify[] = {
        0, MAIL_NOTIFY_NEVER, MAIL_NOTIFY_SUCCESS, MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY,
        MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY};
    struct rng by_id, *r = &by_id;
    rng_seed(r, id);
    if (rng_below(r, 2))
        return;
    e->dsn_delay = e->dsn_for && rng_below(r, 2);
    e->params = (struct mail_params){.body = (enum mail_body)rng_below(r, 3),
                                     .ret = (enum mail_ret)rng_below(r, 3),
                                     .by = (enum mail_by)rng_below(r, 3),
                                     .by_trace = rng_below(r, 2),
                                     .smtputf8 = rng_below(r, 2),
                                     .requiretls = rng_below(r, 2),
                                     .tls_optional = rng_below(r, 2),
                                     .priority = (int8_t)((int)rng_below(r, 19) - 9)};
    if (rng_below(r, 2))
        e->release = wall_add_s(NOW, (int64_t)rng_below(r, 7200) - 3600);
    if (e->params.by)
        e->by_deadline = wall_add_s(NOW, (int64_t)rng_below(r, 7200));
    if (rng_below(r, 2))
        e->tags = SLICE_LIT("campaign=spring\nmailing=7");
    if (rng_below(r, 3) == 0)
        e->route = SLICE_LIT("smarthost");
    for (size_t i = 0; i < e->n_rcpts; i++)
        rcpts[i].notify = notify[rng_below(r, sizeof notify / sizeof *notify)];
    e->dsn_rcpt = e->dsn_for && !e->dsn_delay ? rng_below(r, 3) : 0;
}

/* A plain message: one recipient for each comma-less name, body by id, one accepted event. */
static inline uint64_t kit_put(struct spool *s, struct wall now, size_t n_rcpts, size_t body_n,
                               struct message **ret)
{
    static const char *const names[] = {"a@Example.COM", "b@example.org",
                                        "\"odd@local\"@[IPv6:::1]"};
    struct envelope_rcpt rcpts[3];
    for (size_t i = 0; i < n_rcpts; i++)
        rcpts[i] =
            (struct envelope_rcpt){.address = slice_str(names[i]),
                                   .orcpt = i == 1 ? SLICE_LIT("rfc822;orig@x") : SLICE_NONE};
    struct envelope e = {.sender = SLICE_LIT("sender@example.net"),
                         .user = SLICE_LIT("app"),
                         .client_ip = SLICE_LIT("192.0.2.1"),
                         .message_id = SLICE_LIT("<1@example.net>"),
                         .size = body_n,
                         .rcpts = rcpts,
                         .n_rcpts = n_rcpts};
    struct spool_event_in ev = {EVENT_ACCEPTED, SLICE_NONE};
    uint64_t id = spool_new_id(s, now);
    spool_put(s, id, &e, kit_body(id, body_n), false, now, &ev, 1, ret);
    return id;
}
