/*
 * The questions of one SMTP session are answered at once, except the last
 * one: a message is handed to the disk thread, and its reply is the disk's answer.
 */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/sink/private.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define TXN_ARENA_MAX (512u * 1024)

struct session {
    struct sink *sink;
    struct served served;
    bool closed;
    unsigned pending; /* jobs out */
    struct arena arena;
    struct slice sender;
    struct slice *rcpts;
    size_t n_rcpts, cap_rcpts;
    struct filing *filing;
    struct session *prev, *next;
};

/* A message on the disk thread, then perhaps waiting for its time. */
struct job {
    struct worker_job job;
    struct session *session;
    struct filing *filing;
    struct mono due;
    int error;
    struct err why;
    struct job *next;
};

static const struct smtp_reply reply_ok = SMTP_REPLY_INIT(250, 2, 1, 0, "Ok");
static const struct smtp_reply reply_refused =
    SMTP_REPLY_INIT(550, 5, 1, 1, "No such mailbox here (--refuse)");
static const struct smtp_reply reply_deferred =
    SMTP_REPLY_INIT(450, 4, 2, 0, "Mailbox is busy, try again later (--defer)");
static const struct smtp_reply reply_rcpt_ok = SMTP_REPLY_INIT(250, 2, 1, 5, "Ok");
static const struct smtp_reply reply_memory =
    SMTP_REPLY_INIT(452, 4, 5, 3, "Too many recipients for one message");
static const struct smtp_reply reply_disk =
    SMTP_REPLY_INIT(451, 4, 3, 0, "The message could not be filed, try again later");

/* ---- pure ---- */

static bool matches(const struct patterns *p, struct slice recipient)
{
    for (size_t i = 0; i < p->n; i++)
        if (slice_glob(slice_str(p->items[i]), recipient))
            return true;
    return false;
}

const struct smtp_reply *session_judge(const struct options *o, struct slice recipient)
{
    if (matches(&o->refuse, recipient))
        return &reply_refused;
    return matches(&o->defer, recipient) ? &reply_deferred : &reply_rcpt_ok;
}

void session_report(struct buf *out, struct wall now, struct slice sender,
                    const struct slice *rcpts, size_t n_rcpts, uint64_t size, const char *path)
{
    char time[WALL_RFC3339_SIZE];
    wall_rfc3339(now, time);
    buf_addf(out, "%s from=<%.*s> to=", time, SLICE_ARG(sender));
    for (size_t i = 0; i < n_rcpts; i++)
        buf_addf(out, "%s<%.*s>", i ? "," : "", SLICE_ARG(rcpts[i]));
    buf_addf(out, " size=%llu file=%s\n", (unsigned long long)size, path);
}

/* ---- the transaction ---- */

static void forget(struct session *s)
{
    filing_free(s->filing);
    s->filing = NULL;
    arena_reset(&s->arena);
    s->sender = SLICE_NONE;
    s->n_rcpts = 0;
}

static const struct smtp_reply *take_rcpt(struct session *s, struct slice path)
{
    const struct smtp_reply *r = session_judge(&s->sink->options, path);
    if (r->code != 250)
        return r;
    struct slice kept = arena_dup(&s->arena, path);
    if (!kept.p)
        return &reply_memory;
    if (s->n_rcpts == s->cap_rcpts) {
        s->cap_rcpts = s->cap_rcpts ? s->cap_rcpts * 2 : 4;
        s->rcpts = must_realloc(s->rcpts, s->cap_rcpts * sizeof *s->rcpts);
    }
    s->rcpts[s->n_rcpts++] = kept;
    return r;
}

static int begin_filing(struct session *s, struct err *e)
{
    const struct sink *k = s->sink;
    if (s->filing)
        return 0;
    return filing_begin(&s->filing, k->options.maildir, k->hostname, s->sender, s->rcpts,
                        s->n_rcpts, e);
}

static void take_body(struct session *s, struct slice piece, struct mono now)
{
    struct err e = {0};
    if (begin_filing(s, &e) == 0 && filing_add(s->filing, piece, &e) == 0) {
        smtp_server_body_taken(s->served.smtp, now);
        return;
    }
    LOG(LV_ERROR, "not_filed", LOG_S("problem", e.text));
    smtp_server_body_refuse(s->served.smtp, &reply_disk);
}

static void run_job(struct worker_job *w)
{
    struct job *j = (struct job *)(void *)w;
    j->error = filing_finish(j->filing, j->session->sink->options.maildir, &j->why);
}

static void commit(struct session *s)
{
    struct err e = {0};
    if (begin_filing(s, &e) < 0) { /* a message without content */
        LOG(LV_ERROR, "not_filed", LOG_S("problem", e.text));
        served_answer(&s->served, &reply_disk);
        return;
    }
    struct job *j = must_alloc(sizeof *j);
    j->job.run = run_job;
    j->job.reply = &s->sink->port;
    j->session = s;
    j->filing = TAKE_PTR(s->filing);
    s->pending++;
    worker_push(s->sink->disk, &j->job);
}

/* ---- the dialogue ---- */

static void act(void *ctx, const struct smtp_server_action *a, struct mono now)
{
    struct session *s = ctx;
    switch (a->act) {
    case SRV_ASK_MAIL:
        forget(s);
        s->sender = arena_dup(&s->arena, a->mail->path);
        served_answer(&s->served, &reply_ok);
        break;
    case SRV_ASK_RCPT:
        served_answer(&s->served, take_rcpt(s, a->rcpt->path));
        break;
    case SRV_BODY:
        take_body(s, a->body, now);
        break;
    case SRV_COMMIT:
        commit(s);
        break;
    case SRV_ABORT:
        forget(s);
        break;
    case SRV_ASK_AUTH: /* not offered */
    case SRV_AUTH_CANCELLED:
    case SRV_REFUSED:
        break;
    case SRV_STARTTLS:
    case SRV_CLOSE:
        UNREACHABLE(); /* the driver's own */
    }
}

static void on_tls(void *ctx, bool ok, const char *why)
{
    (void)ctx;
    if (!ok)
        LOG(LV_INFO, "tls_failed", LOG_S("reason", why));
}

static void session_free(struct session *s)
{
    filing_free(s->filing);
    arena_done(&s->arena);
    served_done(&s->served);
    free(s->rcpts);
    free(s);
}

static void on_closed(void *ctx)
{
    struct session *s = ctx;
    struct sink *k = s->sink;
    s->closed = true;
    DL_DELETE(k->sessions, s);
    if (s->pending == 0)
        session_free(s);
    if (k->stopping && !k->sessions)
        loop_stop(k->loop);
}

bool session_accept(void *ctx, struct net_conn *c, const struct net_handler **ret_h, void **ret_ctx)
{
    static const struct served_by by = {.act = act, .tls = on_tls, .closed = on_closed};
    struct sink *k = ctx;
    struct session *s = must_alloc(sizeof *s);
    s->sink = k;
    arena_init(&s->arena, TXN_ARENA_MAX);
    DL_APPEND(k->sessions, s);
    *ret_h = &served_handler;
    *ret_ctx = &s->served;
    served_begin(&s->served, c, &k->smtp, k->tls, false, &by, s);
    return true;
}

void session_stop_all(struct sink *k)
{
    struct session *s, *next;
    DL_FOREACH_SAFE (k->sessions, s, next)
        served_shutdown(&s->served);
}

/* ---- answers of the disk ---- */

static struct job *job_of(struct msg *m)
{
    return (struct job *)(void *)m;
}

static void job_free(struct job *j)
{
    struct session *s = j->session;
    filing_free(j->filing);
    free(j);
    s->pending--;
    if (s->closed && s->pending == 0)
        session_free(s);
}

static void answer(struct job *j)
{
    struct session *s = j->session;
    const char *slash = strrchr(j->filing->path, '/');
    DEFER(buf_done) struct buf text = BUF_MAX(600);
    buf_addf(&text, "Ok: filed as %s", slash ? slash + 1 : j->filing->path);
    struct smtp_reply r = {250, {2, 0, 0}, buf_slice(&text)};
    served_answer(&s->served, j->error ? &reply_disk : &r);
    job_free(j);
}

static void say(const struct job *j)
{
    const struct session *s = j->session;
    DEFER(buf_done) struct buf line = BUF_MAX(1 << 20);
    if (j->error) {
        LOG(LV_ERROR, "not_filed", LOG_S("problem", j->why.text));
    } else if (!s->sink->options.quiet) {
        session_report(&line, wall_now(), s->sender, s->rcpts, s->n_rcpts, j->filing->size,
                       j->filing->path);
        fputs(buf_str(&line), stdout);
        fflush(stdout);
    }
}

void session_on_filed(void *ctx, struct msg *m)
{
    struct sink *k = ctx;
    struct job *j = job_of(m);
    struct mono now = loop_now(k->loop);
    say(j);
    if (k->options.delay_ms == 0) {
        answer(j);
        return;
    }
    j->due = mono_add(now, k->options.delay_ms);
    if (k->late)
        k->late_last->next = j;
    else
        k->late = j;
    k->late_last = j;
    deadline_set(k->loop, &k->late_at, k->late->due);
}

void session_on_late(void *ctx, struct mono now)
{
    struct sink *k = ctx;
    while (k->late && mono_reached(k->late->due, now)) {
        struct job *j = k->late;
        k->late = j->next;
        answer(j);
    }
    if (k->late)
        deadline_set(k->loop, &k->late_at, k->late->due);
}

void session_drop_job(struct msg *m)
{
    job_free(job_of(m));
}

void session_drop_late(struct sink *k)
{
    while (k->late) {
        struct job *j = k->late;
        k->late = j->next;
        job_free(j);
    }
}
