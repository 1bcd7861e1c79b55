#include "relay/inbound/rules.h"
#include "relay/base/must.h"
#include "relay/inbound/private.h"
#include <inttypes.h>
#include <stdio.h>

#define TAGS_BYTES_MAX 16384

static const struct smtp_reply reply_gone =
    SMTP_REPLY_INIT(550, 5, 7, 1, "Your login has been disabled or removed");
static const struct smtp_reply reply_not_yours =
    SMTP_REPLY_INIT(553, 5, 7, 1, "You may not send as this address");
static const struct smtp_reply reply_destination = SMTP_REPLY_INIT(
    451, 4, 3, 5, "Your destination is not in this server's configuration, tell its administrator");

/* MT-PRIORITY (RFC 6710) by the user's class: what mail has that asks for none, and the most that
 * may be asked for. 4 and -4 are what appendix B of the RFC calls urgent and non-urgent. */
static const struct {
    int8_t usual, most;
} classes[] = {
    [USER_PRIORITY_ANY] = {0, MAIL_PRIORITY_MAX},
    [USER_PRIORITY_HIGH] = {4, MAIL_PRIORITY_MAX},
    [USER_PRIORITY_NORMAL] = {0, 0},
    [USER_PRIORITY_LOW] = {-4, -4},
};

static const struct smtp_reply *say(struct session *s, uint16_t code, struct enhanced enhanced,
                                    const char *before, int64_t number, const char *after)
{
    struct rules *r = &s->rules;
    snprintf(r->text, sizeof r->text, "%s%" PRId64 "%s", before, number, after);
    r->reply = (struct smtp_reply){code, enhanced, slice_str(r->text)};
    return &r->reply;
}

void rules_end(struct session *s)
{
    struct rules *r = &s->rules;
    users_unref(r->users);
    r->users = NULL;
    r->user = NULL;
    buf_done(&r->tags);
}

static void set_limits(struct session *s, const struct user *u)
{
    const struct conf_listener *l = s->listener;
    s->smtp_conf.max_message_size = l->max_message_size;
    s->smtp_conf.max_recipients = l->max_recipients;
    if (u && u->max_size && u->max_size < l->max_message_size)
        s->smtp_conf.max_message_size = u->max_size;
    if (u && u->max_recipients && u->max_recipients < l->max_recipients)
        s->smtp_conf.max_recipients = u->max_recipients;
}

static bool has_destination(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_destinations; i++)
        if (strcmp(c->destinations[i].name, name) == 0)
            return true;
    return false;
}

/* 0: there is at least one recipient left; else the seconds until then. */
static int64_t wait_for(struct session *s, unsigned n)
{
    const struct user *u = s->rules.user;
    return u->limit.recipients
               ? rates_take(s->in->shared->rates, u->name, &u->limit, n, loop_now(s->in->loop))
               : 0;
}

static const struct smtp_reply *judge(struct session *s, const struct smtp_mail *m)
{
    const struct user *u = s->rules.user;
    if (!u || u->disabled)
        return &reply_gone;
    /* The null reverse-path is everybody's: what programs say about mail. */
    if (m->path.n > 0 && !user_may_send_as(u, m->path))
        return &reply_not_yours;
    if (m->size > s->smtp_conf.max_message_size)
        return say(s, 552, (struct enhanced){5, 3, 4}, "message too big; the limit in octets is: ",
                   (int64_t)s->smtp_conf.max_message_size, ""); /* the machine's words */
    if (u->destination[0] && !has_destination(s->in->conf, u->destination))
        return &reply_destination;
    const int64_t wait_s = wait_for(s, 0);
    if (wait_s)
        return say(s, 452, (struct enhanced){4, 7, 1},
                   "You have sent to as many recipients as you may, try again in ", wait_s,
                   " seconds");
    return NULL;
}

const struct smtp_reply *rules_mail(struct session *s, const struct smtp_mail *m)
{
    struct rules *r = &s->rules;
    rules_end(s);
    if (s->auth.user) {
        r->users = accounts_now(s->in->shared->accounts, loop_now(s->in->loop));
        r->user = users_find(r->users, slice_str(s->auth.user));
    }
    set_limits(s, r->user);
    return s->auth.user ? judge(s, m) : NULL;
}

const struct smtp_reply *rules_begin(struct session *s)
{
    const struct user *u = s->rules.user;
    int8_t *priority = &s->txn.params.priority;
    const int8_t asked = *priority;
    if (!u)
        return NULL;
    if (asked == 0)
        *priority = classes[u->priority].usual;
    else if (asked > classes[u->priority].most)
        *priority = classes[u->priority].most;
    if (asked == 0 || *priority == asked)
        return NULL;
    return say(s, 250, (struct enhanced){2, 3, 6}, "", *priority,
               " is the new priority of the message");
}

const struct smtp_reply *rules_rcpt(struct session *s)
{
    const int64_t wait_s = s->rules.user ? wait_for(s, 1) : 0;
    return wait_s
               ? say(s, 450, (struct enhanced){4, 7, 1},
                     "No more recipients from you at this time, try again in ", wait_s, " seconds")
               : NULL;
}

static bool has_key(struct slice lines, struct slice key)
{
    while (lines.n) {
        struct slice line = slice_cut(&lines, '\n');
        if (slice_eq(slice_cut(&line, '='), key))
            return true;
    }
    return false;
}

/* The next of the message's tags whose key is none of the user's; empty: there are no more. What an
 * administrator says of a login no message says otherwise. */
static struct slice next_own_tag(const struct user *u, struct slice *own)
{
    while (own->n) {
        struct slice line = slice_cut(own, '\n'), rest = line;
        if (!has_key(slice_str(u->tags), slice_cut(&rest, '=')))
            return line;
    }
    return SLICE_NONE;
}

unsigned rules_count_tags(const struct session *s, struct slice own)
{
    static const struct user nobody = {.tags = ""};
    const struct user *u = s->rules.user ? s->rules.user : &nobody;
    unsigned n = u->n_tags;
    while (next_own_tag(u, &own).n)
        n++;
    return n;
}

static struct slice merge_tags(struct rules *r, struct slice own)
{
    struct slice line;
    buf_done(&r->tags);
    buf_init(&r->tags, TAGS_BYTES_MAX);
    buf_add_str(&r->tags, r->user->tags);
    while ((line = next_own_tag(r->user, &own)).n)
        buf_addf(&r->tags, "\n%.*s", SLICE_ARG(line));
    MUST(!r->tags.overflow);
    return buf_slice(&r->tags);
}

void rules_fill(struct session *s, struct envelope *e)
{
    struct rules *r = &s->rules;
    if (!r->user)
        return;
    e->route = slice_str(r->user->destination);
    if (r->user->n_tags)
        e->tags = merge_tags(r, e->tags);
}

bool rules_is_restricted(const struct session *s)
{
    return s->rules.user && s->rules.user->n_from > 0;
}

bool rules_may_send_as(const struct session *s, struct slice address)
{
    return !s->rules.user || user_may_send_as(s->rules.user, address);
}
