/* Large content: written to a body file before its STORE, read back in pieces for a connection. */
#include "relay/base/must.h"
#include "tests/sim/sim.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

/* --- on its way in --- */

static int step(struct sim *s, uint64_t id, enum spooler_body_step what, struct slice bytes)
{
    struct spooler_body b = {.id = id, .step = what, .bytes = buf_of(bytes)};
    bodies_step(s->bodies, &b);
    return b.error;
}

static int write_pieces(struct sim *s, const struct sim_message *m)
{
    struct slice rest = buf_slice(&m->content);
    int rc = 0;
    while (rest.n && rc >= 0) {
        struct slice piece = slice_head(rest, 1 + (size_t)sim_below(s, 100000));
        rest = slice_skip(rest, piece.n);
        rc = step(s, m->id, SPOOLER_BODY_WRITE, piece);
    }
    return rc < 0 ? rc : step(s, m->id, SPOOLER_BODY_FINISH, SLICE_NONE);
}

int content_write(struct sim *s, const struct sim_message *m)
{
    if (s->faults && sim_chance(s, 10)) {
        s->faults--;
        s->doubtful_files++; /* it may be the removing that fails */
        fake_disk_fail_at(s->disk, fake_disk_steps(s->disk) + 1 + sim_below(s, 5),
                          sim_chance(s, 50) ? -EIO : -ENOSPC);
    }
    int rc = write_pieces(s, m);
    fake_disk_fail_at(s->disk, 0, 0);
    if (fake_disk_is_cut(s->disk))
        sim_after(s, 0, T_DIE, NULL);
    bool gone = rc >= 0 && sim_chance(s, 4); /* its client */
    if (rc < 0 || gone) {
        spool_body_forget(s->spool, m->id);
        sim_after(s, 0, T_CORE, NULL);
    }
    if (gone)
        return -ECANCELED;
    sim_say(s, "message %u: %zu bytes in a file: %d", m->number, m->content.n, rc);
    return rc;
}

/* --- on its way out --- */

struct fetch {
    struct fetch *prev, *next;
    struct out_work *work;
    struct buf got;
};

static void fetch_free(struct sim *s, struct fetch *f)
{
    DL_DELETE(s->fetches, f);
    buf_done(&f->got);
    if (f->work)
        out_work_free(f->work);
    free(f);
}

static void ask(struct sim *s, struct fetch *f)
{
    struct spooler_read *r = must_alloc(sizeof *r);
    r->id = f->work->message_id;
    r->offset = f->got.n;
    r->n = 1 + (size_t)sim_below(s, 150000);
    r->cookie = f;
    sim_request(s, &r->msg, SPOOLER_READ);
}

void content_fetch(struct sim *s, struct out_work *w)
{
    struct fetch *f = must_alloc(sizeof *f);
    f->work = w;
    f->got = BUF_MAX(2u << 20);
    DL_APPEND(s->fetches, f);
    ask(s, f);
}

static void fetch_done(struct sim *s, struct fetch *f)
{
    struct out_work *w = f->work;
    w->body = body_new(f->got.n);
    memcpy(w->body->bytes, f->got.p, f->got.n);
    f->work = NULL;
    fetch_free(s, f);
    link_order(s, w);
}

void content_read(struct sim *s, struct spooler_read *r)
{
    struct fetch *f = r->cookie;
    struct out_work *w = f->work;
    bool bad = r->error < 0 || r->body->n == 0;
    if (!bad)
        buf_add(&f->got, slice_of(r->body->bytes, r->body->n));
    /* A connection may be lost before its order comes: then others have done the work, and the
     * message may be gone. */
    bool over = r->error == -ENOENT && !spool_find(s->spool, r->id);
    if (bad && !over && !fake_disk_is_cut(s->disk))
        sim_fail(s, "content of a message being delivered cannot be read: %d", r->error);
    spooler_request_free(&r->msg);
    if (bad) {
        f->work = NULL;
        fetch_free(s, f);
        link_unreadable(s, w);
    } else if (f->got.n >= w->size) {
        fetch_done(s, f);
    } else {
        ask(s, f);
    }
}

void contents_drop_all(struct sim *s)
{
    while (s->fetches)
        fetch_free(s, s->fetches);
}
