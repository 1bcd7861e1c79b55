#include "queue/message.h"
#include "queue/intern.h"
#include "relay/base/bytes.h"
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

/* --- strings behind the recipients ---------------------------------------------------------------
 *
 *   Message-ID [ENVID] [u64 dsn_for] then for each recipient: address [ORCPT]
 *
 * Each with its length before it (LEB128); those in brackets only where the flag says so.
 */

static size_t length_bytes(size_t n)
{
    size_t bytes = 1;
    for (; n >= 0x80; n >>= 7)
        bytes++;
    return bytes;
}

static size_t room_for(struct slice s)
{
    return length_bytes(s.n) + s.n;
}

static size_t room_for_if_any(struct slice s)
{
    return s.n ? room_for(s) : 0;
}

static uint8_t *put_string(uint8_t *at, struct slice s)
{
    size_t n = s.n;
    for (; n >= 0x80; n >>= 7)
        *at++ = (uint8_t)(n | 0x80);
    *at++ = (uint8_t)n;
    if (s.n)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static struct slice get_string(const uint8_t *at)
{
    size_t n = 0;
    unsigned shift = 0;
    for (; *at & 0x80; shift += 7)
        n |= (size_t)(*at++ & 0x7f) << shift;
    n |= (size_t)*at++ << shift;
    return slice_of(at, n);
}

static const uint8_t *behind(struct slice s)
{
    return s.p + s.n;
}

/* --- messages ------------------------------------------------------------------------------------
 */

static size_t strings_room(const struct envelope *e)
{
    size_t n = room_for(e->message_id) + room_for_if_any(e->envid) + (e->dsn_for ? 8 : 0);
    for (size_t i = 0; i < e->n_rcpts; i++)
        n += room_for(e->rcpts[i].address) + room_for_if_any(e->rcpts[i].orcpt);
    return n;
}

static uint8_t *put_rcpt(struct message *m, uint16_t number, const struct envelope_rcpt *r,
                         uint8_t *at)
{
    m->rcpts[number] = (struct recipient){.due = m->queued,
                                          .strings = (uint32_t)(at - (uint8_t *)m),
                                          .number = number,
                                          .state = RCPT_QUEUED,
                                          .has_orcpt = r->orcpt.n > 0};
    at = put_string(at, r->address);
    return r->orcpt.n ? put_string(at, r->orcpt) : at;
}

struct message *message_new(uint64_t id, const struct envelope *e, struct wall queued,
                            const struct interned *sender, const struct interned *user)
{
    size_t fixed = sizeof(struct message) + e->n_rcpts * sizeof(struct recipient);
    size_t room = strings_room(e);
    MUST(e->n_rcpts >= 1 && e->n_rcpts <= UINT16_MAX && room <= UINT32_MAX - fixed);
    struct message *m = malloc(fixed + room);
    MUST(m);
    *m = (struct message){.id = id,
                          .queued = queued,
                          .size = e->size,
                          .sender = sender,
                          .user = user,
                          .n_rcpts = (uint16_t)e->n_rcpts,
                          .n_left = (uint16_t)e->n_rcpts,
                          .eight_bit = e->eight_bit,
                          .has_envid = e->envid.n > 0,
                          .has_dsn_for = e->dsn_for != 0};
    uint8_t *at = put_string((uint8_t *)m + fixed, e->message_id);
    if (m->has_envid)
        at = put_string(at, e->envid);
    if (m->has_dsn_for) {
        put_u64(at, e->dsn_for);
        at += 8;
    }
    for (uint32_t i = 0; i < m->n_rcpts; i++)
        at = put_rcpt(m, (uint16_t)i, &e->rcpts[i], at);
    MUST(at == (uint8_t *)m + fixed + room);
    return m;
}

size_t message_bytes(const struct message *m)
{
    const struct recipient *last = &m->rcpts[m->n_rcpts - 1];
    struct slice end = last->has_orcpt ? recipient_orcpt(last) : recipient_address(last);
    return (size_t)(behind(end) - (const uint8_t *)m);
}

struct slice message_sender(const struct message *m)
{
    return intern_text(m->sender);
}

struct slice message_user(const struct message *m)
{
    return intern_text(m->user);
}

struct slice message_message_id(const struct message *m)
{
    return get_string((const uint8_t *)(m->rcpts + m->n_rcpts));
}

struct slice message_envid(const struct message *m)
{
    return m->has_envid ? get_string(behind(message_message_id(m))) : SLICE_LIT("");
}

uint64_t message_dsn_for(const struct message *m)
{
    if (!m->has_dsn_for)
        return 0;
    return get_u64(behind(m->has_envid ? message_envid(m) : message_message_id(m)));
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

/* --- recipients ----------------------------------------------------------------------------------
 */

struct slice recipient_address(const struct recipient *r)
{
    return get_string((const uint8_t *)recipient_message(r) + r->strings);
}

struct slice recipient_orcpt(const struct recipient *r)
{
    return r->has_orcpt ? get_string(behind(recipient_address(r))) : SLICE_LIT("");
}

struct slice recipient_host(const struct recipient *r)
{
    return intern_text(r->last ? r->last->host : NULL);
}

void address_domain(struct slice address, struct buf *out)
{
    /* A quoted local part may hold an "@", a domain cannot: the last one counts. */
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    if (at == 0)
        return;
    for (size_t i = at; i < address.n; i++)
        buf_add_u8(out, byte_lower(address.p[i]));
}
