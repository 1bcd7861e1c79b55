#include "queue/message.h"
#include "relay/base/must.h"
#include <stdlib.h>

static void body_free(struct frozen *f)
{
    free(f); /* frozen is the first member */
}

struct body *body_new(size_t n)
{
    struct body *b = malloc(sizeof *b + n);
    MUST(b);
    frozen_init(&b->frozen, body_free);
    b->n = n;
    return b;
}

bool message_dsn_ready(const struct message *m)
{
    bool due = false;
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        if (r->active || (r->state == RCPT_QUEUED && r->attempts == 0))
            return false;
        due = due || r->dsn_due;
    }
    return due;
}

void recipient_domain(const struct recipient *r, struct buf *out)
{
    /* A quoted local part may hold an "@", a domain cannot: the last one counts. */
    size_t at = r->address.n;
    while (at > 0 && r->address.p[at - 1] != '@')
        at--;
    if (at == 0)
        return;
    for (size_t i = at; i < r->address.n; i++)
        buf_add_u8(out, byte_lower(r->address.p[i]));
}
