/*
 * What receivers find when they look up who calls them (checklist 76): the name of the address
 * (PTR), whether that name leads back to it, and whether the name said in EHLO does. Pure:
 * questions out, answers in, then sentences for the administrator that say what is wrong and what
 * to do. One address and one name at a time; at most 8 names of an address are looked at.
 */
#pragma once
#include "dns/ip.h"
#include "dns/plan.h"

enum sender_weight {
    SENDER_WRONG,   /* receivers refuse mail for it, or think less of it */
    SENDER_UNKNOWN, /* the name servers do not say now */
    SENDER_NOTE     /* some receivers may mind */
};

struct sender;
/* Where mail comes from, and the name that is said there. */
struct sender *sender_new(const struct dns_ip *address, struct slice helo);
void sender_free(struct sender *s);
/* As of a plan_maker: several may be open at once. */
bool sender_next(struct sender *s, struct plan_question *ret);
void sender_answer(struct sender *s, const struct plan_question *q, const struct dns_answer *a);
bool sender_is_done(const struct sender *s);
/* When it is done: each finding, nothing when all is well. A sentence without its full stop, lent
 * for the call. Names of strangers are in it: host names, or left out. */
typedef void sender_tell_fn(void *ctx, enum sender_weight w, const char *text);
void sender_tell(const struct sender *s, sender_tell_fn *tell, void *ctx);
