/* A message that has come in is stored: the shim between the server machine and the core. */
#include "queue/id.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "tests/sim/link.h"
#include <errno.h>
#include <stdlib.h>

/* One allocation with its request, so that whoever frees that frees all. */
struct submission {
    struct spooler_store q;
    struct link *link;
    struct sim_message *message;
    struct envelope_rcpt rcpts[SIM_RCPTS_MAX];
    char user[16], message_id[32];
};

void link_leave(struct link *l)
{
    if (l->submission)
        l->submission->link = NULL;
}

static void answer_stored(struct sim *s, struct link *l, const struct sim_message *m, int error)
{
    DEFER(buf_done) struct buf text = BUF_MAX(100);
    char id[QUEUE_ID_SIZE];
    queue_id_write(m->id, id);
    buf_addf(&text, "Ok: queued as %s", id);
    struct smtp_reply reply = {.code = 250, .enhanced = {2, 0, 0}, .text = buf_slice(&text)};
    if (error == -ENOSPC || error == -EDQUOT)
        reply = SMTP_REPLY(452, 4, 3, 1, "no room");
    else if (error < 0)
        reply = SMTP_REPLY(451, 4, 3, 0, "not stored");
    smtp_server_answer(l->server, &reply, sim_mono(s));
    link_wake(s, l);
}

void link_store(struct sim *s, struct link *l, struct sim_message *m, uint64_t dsn_for)
{
    m->id = s->last_id = queue_id_next(s->last_id, sim_wall(s));
    m->in_file = l && (m->content.n > 20000 || sim_chance(s, 20));
    int rc = m->in_file ? content_write(s, m) : 0;
    if (rc < 0) {
        answer_stored(s, l, m, rc);
        return;
    }
    struct submission *sub = must_alloc(sizeof *sub);
    sub->message = m;
    sub->link = l;
    if (l)
        l->submission = sub;
    snprintf(sub->user, sizeof sub->user, "user%u", m->number % 3);
    snprintf(sub->message_id, sizeof sub->message_id, "<%u@sim>", m->number);
    for (unsigned i = 0; i < m->n_rcpts; i++)
        sub->rcpts[i].address = slice_str(m->rcpts[i]);
    sub->q.id = m->id;
    sub->q.dsn_serial = m->serial;
    sub->q.asked = sim_mono(s);
    sub->q.patience_ms = l ? SIM_PATIENCE_MS : 0;
    sub->q.envelope = (struct envelope){.sender = slice_str(m->sender),
                                        .user = slice_str(m->dsn ? "" : sub->user),
                                        .message_id = slice_str(sub->message_id),
                                        .size = m->content.n,
                                        .dsn_for = dsn_for,
                                        .rcpts = sub->rcpts,
                                        .n_rcpts = m->n_rcpts};
    if (!m->dsn)
        asked_fill(s, m, &sub->q.envelope, sub->rcpts);
    if (!m->in_file) {
        sub->q.body = body_new(m->content.n);
        memcpy(sub->q.body->bytes, m->content.p, m->content.n);
    }
    sim_request(s, &sub->q.msg, SPOOLER_STORE);
}

void link_stored(struct sim *s, struct spooler_store *q)
{
    struct submission *sub = (struct submission *)(void *)q;
    struct sim_message *m = sub->message;
    if (!s->dying) {
        sim_say(s, "message %u (%u recipients) stored: %d", m->number, m->n_rcpts, q->error);
        m->answered = q->error == 0;
        m->withdrawn = q->error == -ETIMEDOUT;
        s->doubtful_files += m->in_file && q->error < 0 && (s->batch_failed || m->withdrawn);
        if (q->patience_ms && sim_mono(s).ms - q->asked.ms > SIM_PATIENCE_MS + 1)
            sim_fail(s, "message %u was answered after %lld ms", m->number,
                     (long long)(sim_mono(s).ms - q->asked.ms));
        if (q->error == -ESTALE && !m->dsn)
            sim_fail(s, "message %u was called stale", m->number);
    }
    if (sub->link) {
        sub->link->submission = NULL;
        answer_stored(s, sub->link, m, q->error);
    }
    body_unref(q->body);
    free(sub);
}
