/*
 * The files set aside: the oldest are removed, the others compressed when they are old enough, one
 * a job, on a helper of lower priority: however long it takes, events do not wait for it.
 */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/events/pack.h"
#include "relay/events/private.h"
#include <errno.h>
#include <unistd.h>

enum { LOOK_S = 60, REFUSED_S = 600 };

struct keep_job {
    struct worker_job job;
    const struct names *names; /* the file's: it outlives the helper */
    const atomic_bool *stop;
    int64_t now_s, keep_s, compress_s;
    uint64_t keep_bytes;
    bool tidy;
    /* results */
    unsigned removed;
    char *packed; /* a name; NULL: none */
    uint64_t bytes_before, bytes_after;
    struct err error;
};

/* ---- on the helper ---- */

static bool remove_file(const struct keep_job *k, const struct names_file *f)
{
    DEFER(buf_done) struct buf path = BUF_MAX(4096);
    buf_addf(&path, "%s/%s", k->names->folder, f->name);
    return unlink(buf_str(&path)) == 0;
}

static bool is_too_old(const struct keep_job *k, const struct names_file *f)
{
    return k->keep_s > 0 && f->written_s < k->now_s - k->keep_s;
}

/* Oldest first; what is left of the list is still there. */
static void sweep(struct keep_job *k, struct names_list *l)
{
    uint64_t bytes = 0;
    size_t left = 0;
    for (size_t i = 0; i < l->n; i++)
        bytes += l->at[i].bytes;
    for (size_t i = 0; i < l->n; i++) {
        struct names_file *f = &l->at[i];
        const uint64_t n = f->bytes;
        bool goes = is_too_old(k, f) || (k->keep_bytes > 0 && bytes > k->keep_bytes);
        if (goes && remove_file(k, f)) {
            k->removed++;
            bytes -= n;
            free(f->name);
        } else {
            l->at[left++] = *f;
        }
    }
    l->n = left;
}

/* A crash between the two steps of packing: the compressed one is whole. */
static bool is_packed_already(const struct keep_job *k, const struct names_list *l, size_t i)
{
    DEFER(buf_done) struct buf packed = BUF_MAX(4096);
    buf_addf(&packed, "%s" NAMES_PACKED, l->at[i].name);
    for (size_t at = i + 1; at < l->n && l->at[at].seq == l->at[i].seq; at++)
        if (strcmp(l->at[at].name, buf_str(&packed)) == 0)
            return remove_file(k, &l->at[i]);
    return false;
}

static bool is_due(const struct keep_job *k, const struct names_file *f)
{
    /* One that was spoiled is left for a person to look at. */
    return !f->packed && !strstr(f->name, "-torn") && f->written_s <= k->now_s - k->compress_s;
}

static void pack_one(struct keep_job *k, const struct names_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (!is_due(k, &l->at[i]) || is_packed_already(k, l, i))
            continue;
        if (pack_file(k->names, l->at[i].name, k->stop, &k->bytes_after, &k->error) < 0)
            return;
        k->packed = slice_dup(slice_str(l->at[i].name));
        k->bytes_before = l->at[i].bytes;
        return;
    }
}

static void run(struct worker_job *j)
{
    struct keep_job *k = (struct keep_job *)(void *)j;
    DEFER(names_list_done) struct names_list l;
    if (k->tidy)
        pack_tidy(k->names);
    if (names_list(&l, k->names) < 0)
        return;
    sweep(k, &l);
    if (k->compress_s > 0)
        pack_one(k, &l);
}

/* ---- on the events thread ---- */

static void push(struct events *ev, bool tidy)
{
    struct keep_job *k = must_alloc(sizeof *k);
    k->job.run = run;
    k->job.reply = &ev->keeper_port;
    k->names = &ev->file.names;
    k->stop = &ev->keeper_stop;
    k->now_s = wall_now().us / WALL_SECOND;
    k->keep_s = ev->conf.keep_s;
    k->keep_bytes = ev->conf.keep_bytes;
    k->compress_s = ev->conf.compress_s;
    k->tidy = tidy;
    ev->keeping = true;
    worker_push(ev->keeper, &k->job);
}

void keeper_soon(struct events *ev)
{
    deadline_set(ev->loop, &ev->keep_at, loop_now(ev->loop));
}

static void on_keep(void *ctx, struct mono now)
{
    struct events *ev = ctx;
    (void)now;
    ev->rotate_refused = false;
    if (!ev->keeping && ev->keeper)
        push(ev, false);
}

static void on_done(void *ctx, struct msg *m);

/* After a file that was packed there may be another one. */
static int64_t pause_s(const struct events *ev, const struct keep_job *k)
{
    if (k->packed)
        return 0;
    if (k->error.code < 0)
        return REFUSED_S;
    return ev->conf.compress_s > 0 && ev->conf.compress_s < LOOK_S ? ev->conf.compress_s : LOOK_S;
}

void keeper_drop(struct msg *m)
{
    if (m->to && m->to->fn == on_done)
        free(((struct keep_job *)(void *)m)->packed);
    free(m);
}

static void on_done(void *ctx, struct msg *m)
{
    struct events *ev = ctx;
    struct keep_job *k = (struct keep_job *)(void *)m;
    if (k->removed > 0)
        LOG(LV_INFO, "delivery_log_swept", LOG_N("files", k->removed));
    if (k->packed)
        LOG(LV_INFO, "delivery_log_compressed", LOG_S("file", k->packed),
            LOG_N("bytes", k->bytes_before), LOG_N("compressed_bytes", k->bytes_after));
    if (k->error.code < 0 && k->error.code != -ECANCELED)
        LOG(LV_WARN, "delivery_log_not_compressed", LOG_S("problem", k->error.text),
            LOG_S("effect", "the file stays as it is; tried again in ten minutes"));
    ev->keeping = false;
    deadline_set(ev->loop, &ev->keep_at, mono_add(loop_now(ev->loop), pause_s(ev, k) * 1000));
    keeper_drop(m);
}

void keeper_init(struct events *ev)
{
    ev->keeper_port = (struct port){.inbox = ev->inbox, .fn = on_done, .ctx = ev};
    deadline_init(ev->loop, &ev->keep_at, on_keep, ev);
}

void keeper_begin(struct events *ev)
{
    if (!ev->file.regular)
        return;
    ev->keeper = worker_new_patient("log keeper");
    push(ev, true);
}

void keeper_end(struct events *ev)
{
    atomic_store(&ev->keeper_stop, true);
    worker_free(ev->keeper);
    ev->keeper = NULL;
}
