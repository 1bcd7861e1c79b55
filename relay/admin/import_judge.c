#include "relay/admin/import.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/mail/address.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_address(struct slice s, bool utf8)
{
    struct address a;
    return address_parse_form(s, utf8 ? ADDRESS_UTF8 : ADDRESS_ASCII, &a);
}

bool import_sender_ok(struct slice s, bool utf8)
{
    return s.n == 0 || is_address(s, utf8);
}

bool import_text_ok(struct slice s, size_t max)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return s.n > 0 && s.n <= max;
}

/* As it is kept: "type;address", decoded; of type utf-8 it may have any characters but controls. */
static bool is_orcpt(struct slice s)
{
    const size_t type = slice_find(s, ';');
    uint32_t code;
    if (type == 0 || type == s.n || s.n > IMPORT_ORCPT_MAX)
        return false;
    if (!slice_istarts(s, SLICE_LIT("utf-8;")))
        return import_text_ok(s, IMPORT_ORCPT_MAX);
    for (size_t n; s.n > 0; s = slice_skip(s, n)) {
        n = utf8_char(s, &code);
        if (n == 0 || utf8_is_control(code))
            return false;
    }
    return true;
}

const char *import_rcpt_wrong(const struct envelope_rcpt *r, bool utf8)
{
    if (!is_address(r->address, utf8))
        return "a recipient is no address";
    if (r->orcpt.n > 0 && !is_orcpt(r->orcpt))
        return "an orcpt is not of the form type;address, or too long";
    return NULL;
}

void import_disk_text(char *ret, size_t size, int error)
{
    if (error == -ENOSPC)
        snprintf(ret, size,
                 "the spool's disk is full, or has less room than spool.min-free: make room");
    else if (error == -EXFULL)
        snprintf(ret, size, "the queue is full: it has spool.max-messages");
    else if (error == -ENOBUFS)
        snprintf(ret, size, "the relay uses the memory that spool.max-memory allows");
    else if (error == -ETIMEDOUT)
        snprintf(ret, size, "the spool's disk is too slow: the message was not taken");
    else
        snprintf(ret, size, "the message could not be stored: %s", strerror(-error));
}

struct import_limits import_limits(const struct conf *c)
{
    struct import_limits l = {0};
    for (size_t i = 0; i < c->n_listeners; i++) {
        const struct conf_listener *from = &c->listeners[i];
        if (from->max_message_size > l.max_message_size)
            l.max_message_size = from->max_message_size;
        if (from->max_recipients > l.max_recipients)
            l.max_recipients = from->max_recipients;
    }
    return l;
}

/* The slot of this address, or the free one where it would go. */
static uint32_t *slot_of(const struct import_rcpts *l, struct slice address)
{
    for (uint64_t i = slice_hash(address);; i++) {
        uint32_t *slot = &l->slots[i & (l->n_slots - 1)];
        if (*slot == 0 || slice_eq(l->at[*slot - 1].address, address))
            return slot;
    }
}

bool import_rcpts_has(const struct import_rcpts *l, struct slice address)
{
    return l->n_slots && *slot_of(l, address);
}

static void grow(struct import_rcpts *l)
{
    l->cap = l->cap ? 2 * l->cap : 16;
    l->at = must_realloc(l->at, l->cap * sizeof *l->at);
    free(l->slots);
    l->n_slots = 2 * l->cap;
    l->slots = must_alloc(l->n_slots * sizeof *l->slots);
    for (size_t i = 0; i < l->n; i++)
        *slot_of(l, l->at[i].address) = (uint32_t)(i + 1);
}

void import_rcpts_add(struct import_rcpts *l, const struct envelope_rcpt *r)
{
    if (l->n == l->cap)
        grow(l);
    uint32_t *slot = slot_of(l, r->address);
    l->at[l->n] = *r;
    *slot = (uint32_t)++l->n;
}

void import_rcpts_done(struct import_rcpts *l)
{
    free(l->at);
    free(l->slots);
    *l = (struct import_rcpts){0};
}
