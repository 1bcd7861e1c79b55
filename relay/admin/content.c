/* Content in pieces: queue.cat, which may want only the header, and queue.export. */
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdlib.h>

static void ask_piece(struct peer *p)
{
    struct task *t = &p->task;
    struct spooler_read *r = must_alloc(sizeof *r);
    r->msg.type = SPOOLER_READ;
    r->reply = &p->admin->from_spool;
    r->cookie = p;
    r->id = t->request.message;
    r->offset = t->offset;
    r->n = PIECE_BYTES;
    t->asked = true;
    p->admin->outstanding++;
    port_send(spooler_port(p->admin->spooler), &r->msg);
}

void content_begin(struct peer *p, uint64_t size)
{
    struct task *t = &p->task;
    t->size = size;
    t->offset = t->sent = 0;
    content_go_on(p);
}

static void end(struct peer *p)
{
    if (p->task.request.verb == VERB_EXPORT) {
        export_content_over(p, "whole");
        return;
    }
    json_t *done = json_object();
    rows_put_number(done, "size", p->task.sent);
    peer_done(p, done);
}

void content_go_on(struct peer *p)
{
    struct task *t = &p->task;
    if (t->offset >= t->size)
        end(p);
    else if (peer_unsent(p) <= PEER_UNSENT_MAX)
        ask_piece(p);
}

static void failed(struct peer *p, int error)
{
    if (p->task.request.verb == VERB_EXPORT)
        export_content_over(p, error == -ENOENT    ? "gone"
                               : error == -EBADMSG ? "damaged"
                                                   : strerror(-error));
    else if (error == -ENOENT)
        peer_error(p, "not-found", "the message has left the queue meanwhile");
    else if (error == -EBADMSG)
        peer_error(p, "failed", "the stored message is damaged");
    else
        peer_error(p, "failed", strerror(-error));
}

void content_answered(struct peer *p, struct spooler_read *r)
{
    struct task *t = &p->task;
    bool gone = uv_is_closing((uv_handle_t *)&p->pipe);
    if (!gone && r->error < 0) {
        failed(p, r->error);
    } else if (!gone) {
        struct slice piece = slice_of(r->body->bytes, r->body->n);
        size_t end_at = t->request.headers ? rows_header_end(&t->header, piece) : 0;
        if (end_at)
            piece = slice_head(piece, end_at);
        if (piece.n > 0)
            peer_row(p, rows_data(piece));
        t->sent += piece.n;
        /* A short piece is the last one, whatever the size was said to be. */
        t->offset = end_at || r->body->n < PIECE_BYTES ? t->size : t->offset + r->body->n;
    }
    body_unref(r->body);
    free(r);
}
