#include "dns/sender.h"
#include "dns/name.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

enum { NAMES_MAX = 8, QUESTIONS_MAX = 2 + NAMES_MAX, TEXT_SIZE = 1200 };

struct asked {
    struct plan_question q;
    struct dns_answer *answer; /* ref'd; NULL: not answered */
};

struct sender {
    struct dns_ip ip;
    char address[46], helo[DNS_NAME_SIZE];
    enum dns_type type;                /* of the addresses of names: the same family */
    struct asked asked[QUESTIONS_MAX]; /* the PTR, the name of EHLO, then names of the address */
    size_t n_asked, n_given, n_answered;
    bool names_asked;
};

enum { ASKED_PTR, ASKED_HELO, ASKED_NAMES };

static void ask(struct sender *s, const char *name, enum dns_type type)
{
    MUST(s->n_asked < QUESTIONS_MAX);
    struct asked *a = &s->asked[s->n_asked++];
    a->q.type = type;
    snprintf(a->q.name, sizeof a->q.name, "%s", name);
}

struct sender *sender_new(const struct dns_ip *address, struct slice helo)
{
    struct sender *s = must_alloc(sizeof *s);
    char reverse[DNS_NAME_SIZE];
    s->ip = dns_ip_plain(address);
    s->type = s->ip.family == AF_INET ? DNS_A : DNS_AAAA;
    dns_ip_text(&s->ip, s->address);
    MUST(dns_name_parse(helo, s->helo)); /* the configuration's: host names */
    dns_ip_reverse(&s->ip, reverse);
    ask(s, reverse, DNS_PTR);
    ask(s, s->helo, s->type);
    return s;
}

void sender_free(struct sender *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_asked; i++)
        dns_answer_unref(s->asked[i].answer);
    free(s);
}

static bool is_host(const char *name)
{
    char parsed[DNS_NAME_SIZE];
    return dns_name_parse(slice_str(name), parsed);
}

/* The name of EHLO is asked for as it is. */
static void ask_names(struct sender *s)
{
    const struct dns_answer *ptr = s->asked[ASKED_PTR].answer;
    s->names_asked = true;
    for (size_t i = 0; i < ptr->n && s->n_asked < QUESTIONS_MAX; i++)
        if (is_host(ptr->mx[i].target) && strcmp(ptr->mx[i].target, s->helo) != 0)
            ask(s, ptr->mx[i].target, s->type);
}

bool sender_next(struct sender *s, struct plan_question *ret)
{
    if (s->n_given == s->n_asked)
        return false;
    *ret = s->asked[s->n_given++].q;
    return true;
}

void sender_answer(struct sender *s, const struct plan_question *q, const struct dns_answer *a)
{
    for (size_t i = 0; i < s->n_given; i++) {
        struct asked *at = &s->asked[i];
        if (at->answer || at->q.type != q->type || strcmp(at->q.name, q->name) != 0)
            continue;
        MUST(a->type == q->type);
        at->answer = (struct dns_answer *)frozen_ref((struct frozen *)(uintptr_t)&a->frozen);
        s->n_answered++;
        if (i == ASKED_PTR)
            ask_names(s);
        return;
    }
}

bool sender_is_done(const struct sender *s)
{
    return s->names_asked && s->n_answered == s->n_asked;
}

/* --- what it means
 * ------------------------------------------------------------------------------------------------------------
 */

/* Neither yes nor no. */
static bool is_trouble(const struct dns_answer *a)
{
    return a->status != DNS_OK && a->status != DNS_NXDOMAIN && a->status != DNS_NODATA;
}

static bool leads_here(const struct sender *s, const struct dns_answer *a)
{
    for (size_t i = 0; a->ip && i < a->n; i++)
        if (dns_ip_eq(&a->ip[i], &s->ip))
            return true;
    return false;
}

static const char *record(const struct sender *s)
{
    return s->type == DNS_A ? "A" : "AAAA";
}

/* Is this name, which the address has, one that leads back? */
static bool is_confirmed(const struct sender *s, const char *name)
{
    if (strcmp(name, s->helo) == 0)
        return leads_here(s, s->asked[ASKED_HELO].answer);
    for (size_t i = ASKED_NAMES; i < s->n_asked; i++)
        if (strcmp(s->asked[i].q.name, name) == 0)
            return leads_here(s, s->asked[i].answer);
    return false;
}

static bool names_are_in_trouble(const struct sender *s)
{
    for (size_t i = ASKED_HELO; i < s->n_asked; i++)
        if (is_trouble(s->asked[i].answer))
            return true;
    return false;
}

static void tell_helo(const struct sender *s, sender_tell_fn *tell, void *ctx)
{
    const struct dns_answer *a = s->asked[ASKED_HELO].answer;
    char text[TEXT_SIZE], other[46];
    if (is_trouble(a)) {
        snprintf(text, sizeof text,
                 "%s, the name said in EHLO, cannot be looked up now (%s): try again, or see to "
                 "the name servers",
                 s->helo, dns_status_name(a->status));
        tell(ctx, SENDER_UNKNOWN, text);
    } else if (a->status != DNS_OK) {
        snprintf(text, sizeof text,
                 "%s, the name said in EHLO from %s, has no %s record: receivers that look it up "
                 "refuse the mail. Add \"%s %s %s\" to its zone, or set helo to a name that leads "
                 "to %s",
                 s->helo, s->address, record(s), s->helo, record(s), s->address, s->address);
        tell(ctx, SENDER_WRONG, text);
    } else if (!leads_here(s, a)) {
        dns_ip_text(&a->ip[0], other);
        snprintf(text, sizeof text,
                 "%s, the name said in EHLO from %s, leads to %s: receivers that look it up think "
                 "it is somebody else's. Add \"%s %s %s\" to its zone, or set helo to a name that "
                 "leads to %s",
                 s->helo, s->address, other, s->helo, record(s), s->address, s->address);
        tell(ctx, SENDER_WRONG, text);
    }
}

/* The address has names; the first is shown when there is one that can be. */
static void tell_names(const struct sender *s, sender_tell_fn *tell, void *ctx)
{
    const struct dns_answer *ptr = s->asked[ASKED_PTR].answer;
    const char *confirmed = NULL, *shown = "what is no host name";
    char text[TEXT_SIZE];
    bool is_said = false, is_named = false;
    for (size_t i = ptr->n; i-- > 0;) {
        const char *name = ptr->mx[i].target;
        if (is_host(name))
            shown = name;
        is_named = is_named || strcmp(name, s->helo) == 0;
        if (!is_host(name) || !is_confirmed(s, name))
            continue;
        confirmed = name;
        is_said = is_said || strcmp(name, s->helo) == 0;
    }
    if (!confirmed && is_named) /* told of the name of EHLO already */
        return;
    if (!confirmed && names_are_in_trouble(s)) {
        snprintf(text, sizeof text,
                 "whether %s, the name of %s, leads back to it cannot be looked up now: try again",
                 shown, s->address);
        tell(ctx, SENDER_UNKNOWN, text);
    } else if (!confirmed) {
        snprintf(text, sizeof text,
                 "%s is named %s (PTR), which does not lead back to it: many receivers refuse mail "
                 "from such an address. Have whoever provides the address name it %s, and have "
                 "that lead to it",
                 s->address, shown, s->helo);
        tell(ctx, SENDER_WRONG, text);
    } else if (!is_said) {
        snprintf(text, sizeof text,
                 "%s is named %s (PTR), and says %s in EHLO: some receivers want them alike. Set "
                 "helo = \"%s\", or have the address named %s",
                 s->address, confirmed, s->helo, confirmed, s->helo);
        tell(ctx, SENDER_NOTE, text);
    }
}

static void tell_ptr(const struct sender *s, sender_tell_fn *tell, void *ctx)
{
    const struct dns_answer *ptr = s->asked[ASKED_PTR].answer;
    char text[TEXT_SIZE];
    if (is_trouble(ptr)) {
        snprintf(text, sizeof text,
                 "the name of %s (PTR) cannot be looked up now (%s): try again, or see to the name "
                 "servers",
                 s->address, dns_status_name(ptr->status));
        tell(ctx, SENDER_UNKNOWN, text);
    } else if (ptr->status != DNS_OK) {
        snprintf(text, sizeof text,
                 "%s has no name (PTR): many receivers refuse mail from such an address. Have "
                 "whoever provides the address name it %s",
                 s->address, s->helo);
        tell(ctx, SENDER_WRONG, text);
    } else {
        tell_names(s, tell, ctx);
    }
}

void sender_tell(const struct sender *s, sender_tell_fn *tell, void *ctx)
{
    MUST(sender_is_done(s));
    tell_helo(s, tell, ctx);
    tell_ptr(s, tell, ctx);
}
