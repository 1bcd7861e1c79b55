/*
 * Two locks: `lock` guards the list and the lines that are not written yet, and is held for
 * moments; `disk` guards the file, and is held while it is written. Who holds `disk` may take
 * `lock`, never the other way round.
 */
#include "relay/suppress/suppress.h"
#include "relay/base/clock.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/base/verdict.h"
#include "relay/loop/worker.h"
#include "relay/suppress/file.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define PENDING_MAX ((size_t)1024 * 1024) /* more than that: the whole file is written instead */
#define PENDING_ENOUGH ((size_t)32 * 1024)
#define SEEN_EVERY 20000             /* events: so many are looked at again after a crash */
#define REWRITE_LINES 10000          /* lines that may be in the file beside twice what is needed */
#define PAGE_PLACES 1000             /* looked at with the lock held */
#define AGAIN_MS (INT64_C(5) * 1000) /* between tries when the disk fails */

struct suppress {
    uv_mutex_t lock;
    struct suppress_list *list;
    struct suppress_policy policy;
    struct buf pending; /* lines */
    bool urgent;        /* one of them is to be synced */
    bool rewrite;       /* the file lacks something that the list has */
    bool job_out;
    uint64_t told;   /* the last event seen, and … */
    unsigned unsaid; /* … how many since a line said so */
    uv_mutex_t disk;
    const struct file_ops *fs;
    struct suppress_file file;
    struct mono again; /* not before, by itself */
    bool failing;
    struct worker *worker;
    struct worker_job job;         /* flush; out at most once */
    atomic_size_t listed, counted; /* so that nobody takes the lock for nothing */
};

static void count(struct suppress *s)
{
    atomic_store_explicit(&s->listed, suppress_list_listed(s->list), memory_order_relaxed);
    atomic_store_explicit(&s->counted, suppress_list_counted(s->list), memory_order_relaxed);
}

/* --- the disk
 * ------------------------------------------------------------------------------------------- */

/* With the lock. What is pending, and up to which event it goes. */
static struct buf take_pending(struct suppress *s, bool say_seen)
{
    const struct suppress_line seen = {.kind = SUPPRESS_SEEN, .seq = s->told};
    if (s->unsaid || say_seen)
        suppress_line_write(&s->pending, &seen);
    struct buf lines = s->pending;
    s->pending = BUF_MAX(PENDING_MAX);
    s->unsaid = 0;
    s->rewrite = lines.overflow;
    s->urgent = false;
    return lines;
}

/* With `disk`. The list page by page, so that nobody waits long for the lock; what changed
 * meanwhile comes behind, so that the file has all of some moment. */
static int write_anew(struct suppress *s)
{
    struct suppress_rewrite w;
    size_t at = 0;
    suppress_rewrite_begin(&w, s->fs);
    do {
        DEFER(buf_done)
        struct buf lines = BUF_MAX((size_t)PAGE_PLACES * SUPPRESS_BOUNCES_MAX * SUPPRESS_LINE_MAX);
        uv_mutex_lock(&s->lock);
        suppress_list_lines(s->list, &s->policy, wall_now(), &at, PAGE_PLACES, &lines);
        count(s);
        uv_mutex_unlock(&s->lock);
        MUST(!lines.overflow);
        suppress_rewrite_put(&w, buf_slice(&lines));
    } while (at && w.error == 0);
    uv_mutex_lock(&s->lock);
    DEFER(buf_done) struct buf behind = take_pending(s, true);
    uv_mutex_unlock(&s->lock);
    suppress_rewrite_put(&w, buf_slice(&behind));
    return suppress_rewrite_end(&w, &s->file);
}

/* Says it once when the disk begins to fail, and once when it is over. */
static void say(struct suppress *s, int rc)
{
    if (rc < 0 && !s->failing)
        LOG(LV_ERROR, "suppression_list", LOG_S("problem", strerror(-rc)),
            LOG_S("meaning", "changes hold until a restart; writing them is tried again"));
    else if (rc == 0 && s->failing)
        LOG(LV_INFO, "suppression_list", LOG_S("meaning", "it is written again"));
    s->failing = rc < 0;
    if (rc < 0)
        s->again = mono_add(mono_now(), AGAIN_MS);
}

/* With `disk`. What the list has beyond the file is written. */
static int flush(struct suppress *s, bool sync)
{
    uv_mutex_lock(&s->lock);
    const size_t needed = suppress_list_listed(s->list) + suppress_list_counted(s->list);
    bool anew = s->rewrite || s->file.fd < 0 || s->file.lines > 2 * needed + REWRITE_LINES;
    sync = sync || s->urgent;
    DEFER(buf_done) struct buf lines = take_pending(s, false);
    anew = anew || lines.overflow;
    uv_mutex_unlock(&s->lock);
    const int rc = anew ? write_anew(s) : suppress_file_append(&s->file, buf_slice(&lines), sync);
    if (rc < 0) {
        uv_mutex_lock(&s->lock);
        s->rewrite = true; /* the list has it all */
        s->urgent = true;
        uv_mutex_unlock(&s->lock);
    }
    say(s, rc);
    return rc;
}

static void job_run(struct worker_job *j)
{
    struct suppress *s = (struct suppress *)(void *)((uint8_t *)j - offsetof(struct suppress, job));
    uv_mutex_lock(&s->lock);
    s->job_out = false;
    uv_mutex_unlock(&s->lock);
    uv_mutex_lock(&s->disk);
    if (!s->failing || mono_reached(s->again, mono_now()))
        flush(s, false);
    uv_mutex_unlock(&s->disk);
}

int suppress_sync(struct suppress *s, struct err *e)
{
    uv_mutex_lock(&s->disk);
    const int rc = flush(s, true);
    uv_mutex_unlock(&s->disk);
    return rc < 0 ? err_set(e, rc,
                            "it holds until a restart, but cannot be written: %s (writing is tried "
                            "again)",
                            strerror(-rc))
                  : 0;
}

/* --- life
 * -----------------------------------------------------------------------------------------------
 */

int suppress_new(struct suppress **ret, const struct file_ops *fs, const struct suppress_policy *p,
                 size_t *ret_damaged, struct err *e)
{
    struct suppress *s = must_alloc(sizeof *s);
    *s = (struct suppress){.list = suppress_list_new(),
                           .policy = *p,
                           .pending = BUF_MAX(PENDING_MAX),
                           .fs = fs,
                           .file = {.fs = fs, .fd = -1},
                           .job = {.run = job_run}};
    MUST(uv_mutex_init(&s->lock) == 0 && uv_mutex_init(&s->disk) == 0);
    s->worker = worker_new_patient("suppress");
    int rc = suppress_file_read(&s->file, s->list, ret_damaged, e);
    s->told = suppress_list_seen(s->list);
    count(s);
    if (rc == 0 && s->file.fd < 0)
        rc = suppress_sync(s, e);
    *ret = s;
    if (rc < 0) {
        *ret = NULL;
        suppress_free(s);
    }
    return rc;
}

void suppress_free(struct suppress *s)
{
    if (!s)
        return;
    worker_free(s->worker);
    if (s->file.fd >= 0)
        flush(s, true);
    suppress_file_close(&s->file);
    suppress_list_free(s->list);
    buf_done(&s->pending);
    uv_mutex_destroy(&s->disk);
    uv_mutex_destroy(&s->lock);
    free(s);
}

void suppress_set_policy(struct suppress *s, const struct suppress_policy *p)
{
    uv_mutex_lock(&s->lock);
    s->policy = *p;
    uv_mutex_unlock(&s->lock);
}

uint64_t suppress_seen(struct suppress *s)
{
    uv_mutex_lock(&s->lock);
    const uint64_t seq = s->told;
    uv_mutex_unlock(&s->lock);
    return seq;
}

/* With the lock. */
static bool change(struct suppress *s, const struct suppress_line *line)
{
    if (!suppress_list_apply(s->list, line))
        return false;
    suppress_line_write(&s->pending, line); /* past the maximum the whole file is written */
    s->urgent = s->urgent || line->kind == SUPPRESS_LISTED || line->kind == SUPPRESS_REMOVED;
    count(s);
    return true;
}

/* With the lock: the helper is to write, unless it is going to. */
static void ask_for_flush(struct suppress *s)
{
    if (s->job_out)
        return;
    s->job_out = true;
    worker_push(s->worker, &s->job);
}

/* --- events
 * --------------------------------------------------------------------------------------------- */

struct facts {
    struct slice user, recipient, class, status, response;
    int64_t code;
};

static struct facts facts_of(const struct event *e)
{
    struct facts f = {0};
    struct cursor c = cursor_of(e->fields);
    struct event_value v;
    const struct {
        enum event_field field;
        struct slice *to;
    } wanted[] = {{EV_USER, &f.user},
                  {EV_RECIPIENT, &f.recipient},
                  {EV_CLASS, &f.class},
                  {EV_ENHANCED_STATUS, &f.status},
                  {EV_RESPONSE, &f.response}};
    while (event_next(&c, &v)) {
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (wanted[i].field == v.field)
                *wanted[i].to = v.str;
        if (v.field == EV_SMTP_CODE)
            f.code = v.num;
    }
    return f;
}

static bool is_hard(const struct facts *f)
{
    return slice_eq(f->class, slice_str(class_name(CLASS_BAD_MAILBOX))) ||
           slice_eq(f->class, slice_str(class_name(CLASS_BAD_DOMAIN)));
}

/* "550 5.1.1 no such user", or the class where nobody said anything. */
static void write_reason(struct buf *out, const struct facts *f)
{
    if (f->code)
        buf_addf(out, "%d %.*s%s", (int)f->code, SLICE_ARG(f->status), f->status.n ? " " : "");
    else
        buf_addf(out, "%.*s%s%.*s", SLICE_ARG(f->status), f->status.n ? " " : "",
                 SLICE_ARG(f->class));
    utf8_clean(out, f->response, SUPPRESS_REASON_MAX);
}

/* With the lock. */
static void bounced(struct suppress *s, const struct event *e)
{
    const struct facts f = facts_of(e);
    struct suppress_line line;
    DEFER(buf_done) struct buf reason = BUF_MAX(2 * SUPPRESS_REASON_MAX);
    if (!is_hard(&f))
        return;
    write_reason(&reason, &f);
    const struct slice user = s->policy.by_user ? f.user : SLICE_NONE;
    if (!suppress_list_judge(s->list, &s->policy, e->seq, user, f.recipient, buf_slice(&reason),
                             e->time, &line))
        return;
    const bool done = change(s, &line);
    if (line.kind == SUPPRESS_LISTED)
        LOG(done ? LV_INFO : LV_WARN, done ? "recipient_suppressed" : "suppression_list_full",
            LOG_B("recipient", f.recipient), LOG_B("user", user),
            LOG_B("reason", buf_slice(&reason)));
}

/* With the lock. */
static void delivered(struct suppress *s, const struct event *e)
{
    const struct facts f = facts_of(e);
    const struct slice user = s->policy.by_user ? f.user : SLICE_NONE;
    if (suppress_list_is_counted(s->list, user, f.recipient))
        change(s, &(struct suppress_line){.kind = SUPPRESS_FORGIVEN,
                                          .seq = e->seq,
                                          .time = e->time,
                                          .user = user,
                                          .address = f.recipient});
}

void suppress_event(struct suppress *s, const struct event *e)
{
    uv_mutex_lock(&s->lock);
    if (e->seq > s->told) {
        s->told = e->seq;
        s->unsaid++;
        if (e->name == EVENT_BOUNCED)
            bounced(s, e);
        else if ((e->name == EVENT_DELIVERED || e->name == EVENT_RELAYED) &&
                 suppress_list_counted(s->list))
            delivered(s, e);
        if (s->urgent || s->pending.n >= PENDING_ENOUGH || s->unsaid >= SEEN_EVERY)
            ask_for_flush(s);
    }
    uv_mutex_unlock(&s->lock);
}

/* --- questions
 * ------------------------------------------------------------------------------------------ */

bool suppress_find(struct suppress *s, struct slice user, struct slice address,
                   struct suppress_found *ret)
{
    if (!s || atomic_load_explicit(&s->listed, memory_order_relaxed) == 0)
        return false;
    const struct wall now = wall_now();
    uv_mutex_lock(&s->lock);
    const bool found = suppress_list_find(s->list, &s->policy, user, address, now, ret);
    uv_mutex_unlock(&s->lock);
    return found;
}

void suppress_words(const struct suppress_found *f, char ret_text[SUPPRESS_WORDS_SIZE])
{
    enum { DAY_CHARS = 10 }; /* of a date as RFC 3339 writes it */
    char since[WALL_RFC3339_SIZE];
    const bool bounced = f->source == SUPPRESS_BY_BOUNCES;
    wall_rfc3339(f->since, since);
    snprintf(ret_text, SUPPRESS_WORDS_SIZE, "Suppressed since %.*s%s%s%s", DAY_CHARS, since,
             bounced ? ", mail to this address bounced" : " by the administrator",
             f->reason[0] ? ": " : "", f->reason);
    for (char *c = ret_text; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
}

static bool is_text(struct slice s, size_t max)
{
    uint32_t code;
    if (s.n > max || !utf8_valid(s))
        return false;
    for (size_t n; s.n; s = slice_skip(s, n)) {
        n = utf8_char(s, &code);
        if (utf8_is_control(code))
            return false;
    }
    return true;
}

static bool is_name(struct slice user, struct slice address)
{
    return address.n && is_text(address, SUPPRESS_ADDRESS_MAX) && is_text(user, SUPPRESS_USER_MAX);
}

int suppress_add(struct suppress *s, struct slice user, struct slice address, struct slice reason,
                 enum suppress_source source, struct wall since)
{
    if (!is_name(user, address))
        return -EINVAL;
    uv_mutex_lock(&s->lock);
    int rc = suppress_list_has(s->list, user, address) ? 0
             : suppress_list_is_full(s->list)          ? -ENOSPC
                                                       : 1;
    if (rc == 1)
        change(s, &(struct suppress_line){.kind = SUPPRESS_LISTED,
                                          .source = source,
                                          .time = since.us ? since : wall_now(),
                                          .user = user,
                                          .address = address,
                                          .reason = reason});
    uv_mutex_unlock(&s->lock);
    return rc;
}

int suppress_remove(struct suppress *s, struct slice user, struct slice address)
{
    if (!is_name(user, address))
        return -EINVAL;
    uv_mutex_lock(&s->lock);
    const bool done = change(
        s, &(struct suppress_line){
               .kind = SUPPRESS_REMOVED, .time = wall_now(), .user = user, .address = address});
    uv_mutex_unlock(&s->lock);
    return done;
}

static void copy_text(char *to, size_t size, struct slice s)
{
    s = slice_head(s, size - 1);
    if (s.n)
        memcpy(to, s.p, s.n);
    to[s.n] = 0;
}

static void copy_row(struct suppress_name *to, const struct suppress_row *r)
{
    copy_text(to->user, sizeof to->user, r->user);
    copy_text(to->address, sizeof to->address, r->address);
    copy_text(to->reason, sizeof to->reason, r->reason);
    to->since = r->since;
    to->source = r->source;
}

bool suppress_page(struct suppress *s, size_t *at, struct suppress_name *rows, size_t max,
                   size_t *ret_n)
{
    struct suppress_row row;
    *ret_n = 0;
    uv_mutex_lock(&s->lock);
    const size_t first = *at;
    bool more = true;
    while (more && *ret_n < max && *at - first < PAGE_PLACES) {
        if (suppress_list_next(s->list, at, PAGE_PLACES, &row))
            copy_row(&rows[(*ret_n)++], &row);
        else
            more = *at != 0;
    }
    uv_mutex_unlock(&s->lock);
    return more;
}

size_t suppress_count(struct suppress *s)
{
    return s ? atomic_load_explicit(&s->listed, memory_order_relaxed) : 0;
}
