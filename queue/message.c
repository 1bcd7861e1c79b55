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
 *   Message-ID [ENVID] [tags] [route] [u64 dsn_for] [u64 release] [u64 by_deadline]
 *   then for each recipient: address [ORCPT]
 *
 * Strings with their length before them (LEB128); those in brackets only where the flag says so.
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

static uint8_t *put_number(uint8_t *at, uint64_t v)
{
    put_u64(at, v);
    return at + 8;
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
    size_t n = room_for(e->message_id) + room_for_if_any(e->envid) + room_for_if_any(e->tags) +
               room_for_if_any(e->route);
    n += (e->dsn_for ? 8u : 0) + (e->release.us ? 8u : 0) + (e->by_deadline.us ? 8u : 0);
    for (size_t i = 0; i < e->n_rcpts; i++)
        n += room_for(e->rcpts[i].address) + room_for_if_any(e->rcpts[i].orcpt);
    return n;
}

static uint8_t *put_rcpt(struct message *m, uint16_t number, const struct envelope_rcpt *r,
                         uint8_t *at)
{
    m->rcpts[number] = (struct recipient){.due = message_first_due(m),
                                          .strings = (uint32_t)(at - (uint8_t *)m),
                                          .number = number,
                                          .state = RCPT_QUEUED,
                                          .has_orcpt = r->orcpt.n > 0,
                                          .notify = r->notify & 15u};
    at = put_string(at, r->address);
    return r->orcpt.n ? put_string(at, r->orcpt) : at;
}

static struct message message_of(uint64_t id, const struct envelope *e, struct wall queued,
                                 const struct interned *sender, const struct interned *user)
{
    const struct mail_params *p = &e->params;
    return (struct message){.id = id,
                            .queued = queued,
                            .size = e->size,
                            .sender = sender,
                            .user = user,
                            .n_rcpts = (uint16_t)e->n_rcpts,
                            .n_left = (uint16_t)e->n_rcpts,
                            .eight_bit = e->eight_bit,
                            .has_envid = e->envid.n > 0,
                            .has_tags = e->tags.n > 0,
                            .has_route = e->route.n > 0,
                            .has_dsn_for = e->dsn_for != 0,
                            .has_release = e->release.us != 0,
                            .has_by_deadline = e->by_deadline.us != 0,
                            .dsn_delay = e->dsn_delay,
                            .delay_told = e->dsn_delay && !e->dsn_for,
                            .by_trace = p->by_trace,
                            .smtputf8 = p->smtputf8,
                            .requiretls = p->requiretls,
                            .tls_optional = p->tls_optional,
                            .body_kind = p->body & 3u,
                            .ret = p->ret & 3u,
                            .by = p->by & 3u,
                            .priority = p->priority};
}

/* What stands between the Message-ID and the recipients. */
static uint8_t *put_rare(const struct message *m, const struct envelope *e, uint8_t *at)
{
    if (m->has_envid)
        at = put_string(at, e->envid);
    if (m->has_tags)
        at = put_string(at, e->tags);
    if (m->has_route)
        at = put_string(at, e->route);
    if (m->has_dsn_for)
        at = put_number(at, e->dsn_for);
    if (m->has_release)
        at = put_number(at, (uint64_t)e->release.us);
    return m->has_by_deadline ? put_number(at, (uint64_t)e->by_deadline.us) : at;
}

struct message *message_new(uint64_t id, const struct envelope *e, struct wall queued,
                            const struct interned *sender, const struct interned *user)
{
    size_t fixed = sizeof(struct message) + e->n_rcpts * sizeof(struct recipient);
    size_t room = strings_room(e);
    MUST(e->n_rcpts >= 1 && e->n_rcpts <= UINT16_MAX && room <= UINT32_MAX - fixed);
    struct message *m = malloc(fixed + room);
    MUST(m);
    *m = message_of(id, e, queued, sender, user);
    uint8_t *at = put_rare(m, e, put_string((uint8_t *)m + fixed, e->message_id));
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

/* The strings behind the Message-ID, in their order. */
static const uint8_t *rare_string(const struct message *m, unsigned nth)
{
    const bool there[] = {m->has_envid, m->has_tags, m->has_route};
    const uint8_t *at = behind(message_message_id(m));
    for (unsigned i = 0; i < nth; i++)
        if (there[i])
            at = behind(get_string(at));
    return at;
}

/* … and the numbers behind those. */
static uint64_t rare_number(const struct message *m, unsigned nth)
{
    const bool there[] = {m->has_dsn_for, m->has_release, m->has_by_deadline};
    const uint8_t *at = rare_string(m, 3);
    for (unsigned i = 0; i < nth; i++)
        at += there[i] ? 8 : 0;
    return there[nth] ? get_u64(at) : 0;
}

struct slice message_envid(const struct message *m)
{
    return m->has_envid ? get_string(rare_string(m, 0)) : SLICE_LIT("");
}

struct slice message_tags(const struct message *m)
{
    return m->has_tags ? get_string(rare_string(m, 1)) : SLICE_LIT("");
}

struct slice message_route(const struct message *m)
{
    return m->has_route ? get_string(rare_string(m, 2)) : SLICE_LIT("");
}

uint64_t message_dsn_for(const struct message *m)
{
    return m->has_dsn_for ? rare_number(m, 0) : 0;
}

struct wall message_release(const struct message *m)
{
    return (struct wall){m->has_release ? (int64_t)rare_number(m, 1) : 0};
}

struct wall message_by_deadline(const struct message *m)
{
    return (struct wall){m->has_by_deadline ? (int64_t)rare_number(m, 2) : 0};
}

struct wall message_first_due(const struct message *m)
{
    struct wall release = message_release(m);
    return release.us > m->queued.us ? release : m->queued;
}

struct mail_params message_params(const struct message *m)
{
    return (struct mail_params){.body = (enum mail_body)m->body_kind,
                                .ret = (enum mail_ret)m->ret,
                                .by = (enum mail_by)m->by,
                                .by_trace = m->by_trace,
                                .smtputf8 = m->smtputf8,
                                .requiretls = m->requiretls,
                                .tls_optional = m->tls_optional,
                                .priority = m->priority};
}

struct wall message_late_at(const struct message *m, int64_t warning_s)
{
    if (m->delay_told)
        return WALL_NEVER;
    if (m->by == MAIL_BY_NOTIFY)
        return message_by_deadline(m);
    return warning_s > 0 ? wall_add_s(message_first_due(m), warning_s) : WALL_NEVER;
}

bool message_tried(const struct message *m)
{
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        if (r->active || (r->state == RCPT_QUEUED && r->attempts == 0))
            return false;
    }
    return true;
}

struct message_range message_told(const struct message *m, uint64_t dsn_rcpt)
{
    if (dsn_rcpt == 0)
        return (struct message_range){0, m->n_rcpts};
    if (dsn_rcpt > m->n_rcpts) /* a record of another message's number */
        return (struct message_range){0, 0};
    return (struct message_range){(uint32_t)dsn_rcpt - 1, (uint32_t)dsn_rcpt};
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

struct slice recipient_redirected(const struct recipient *r)
{
    return intern_text(r->last ? r->last->route : NULL);
}

struct slice recipient_route(const struct recipient *r)
{
    struct slice own = recipient_redirected(r);
    return own.n ? own : message_route(recipient_message(r));
}

void address_domain(struct slice address, struct buf *out)
{
    const struct slice domain = slice_behind_last(address, '@');
    for (size_t i = 0; i < domain.n; i++)
        buf_add_u8(out, byte_lower(domain.p[i]));
}
