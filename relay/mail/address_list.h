/*
 * Who a message says that it is from: the mailboxes of From, Sender, Resent-From and Resent-Sender
 * (RFC 5322 section 3.4 with the obsolete forms of section 4.4, UTF-8 of RFC 6532 where it was
 * asked for). Pure. In: the value of a field with its folds; out: one bare addr-spec a call,
 * without blanks, comments and routes. It is read to decide what a user may say, so what could be
 * read in two ways is not read at all.
 */
#pragma once
#include "relay/base/buf.h"

#define ADDRESS_LIST_OCTETS 998 /* of one address; a longer one is none */

enum address_list_found { ADDRESS_LIST_ONE, ADDRESS_LIST_END, ADDRESS_LIST_BAD };

struct address_list { /* address_list_of makes one; the value is borrowed */
    struct slice rest;
    bool utf8, in_group, wants_comma, bad;
    /* Set it to have local parts without a domain, too ("root"): bare_end is where in the value the
     * one just given ended, NULL when it has its domain. */
    bool bare;
    const uint8_t *bare_end;
};

/* utf8: characters beyond ASCII may stand in an address (SMTPUTF8), not only in names and
 * comments. */
struct address_list address_list_of(struct slice value, bool utf8);
/* ONE: the next address is in *ret, case and quotes as given. BAD: the rest is no list, and stays
 * so. A list without any address ends at once. */
enum address_list_found address_list_next(struct address_list *l, struct buf *ret);
