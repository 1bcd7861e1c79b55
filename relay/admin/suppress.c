/* suppress.list, suppress.add, suppress.remove: the suppression list, reached by main's hooks. It
 * is behind a lock of its own, held for a page at a time. */
#include "relay/admin/private.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdio.h>

enum { PAGE_ROWS = 32, ENTRIES_MAX = 10000 };

static json_t *row_of(const struct admin_suppressed *s)
{
    json_t *o = json_object();
    rows_put_text(o, "recipient", slice_str(s->recipient));
    rows_put_text(o, "user", slice_str(s->user));
    rows_put(o, "since", rows_time(s->since));
    rows_put_text(o, "source", slice_str(s->source));
    rows_put_text(o, "reason", slice_str(s->reason));
    return o;
}

static bool is_wanted(const struct request *r, const struct admin_suppressed *s)
{
    const struct slice user = buf_slice(&r->import.user), pattern = buf_slice(&r->address);
    return (user.n == 0 || slice_eq(user, slice_str(s->user))) &&
           (pattern.n == 0 || slice_glob(pattern, slice_str(s->recipient)));
}

void suppress_go_on(struct peer *p)
{
    struct task *t = &p->task;
    const struct admin_hooks *h = &p->admin->hooks;
    const uint64_t limit = t->request.limit ? t->request.limit : UINT64_MAX;
    struct admin_suppressed rows[PAGE_ROWS];
    bool more = true;
    while (more && t->given < limit && peer_unsent(p) <= PEER_UNSENT_MAX) {
        size_t n = 0;
        more = h->suppressed(h->ctx, &t->at, rows, PAGE_ROWS, &n);
        for (size_t i = 0; i < n && t->given < limit; i++) {
            if (!is_wanted(&t->request, &rows[i]))
                continue;
            peer_row(p, row_of(&rows[i]));
            t->given++;
        }
    }
    if (more && t->given < limit)
        return;
    json_t *done = json_object();
    rows_put_number(done, "matched", t->given);
    peer_done(p, done);
}

/* --- changes
 * -------------------------------------------------------------------------------------------- */

static struct slice text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return slice_of(json_string_value(v), json_string_length(v));
}

/* False: *why. Slices borrow from o. */
static bool entry_read(json_t *o, struct admin_suppress *ret, const char **why)
{
    static const char *const keys[] = {"recipient", "user", "reason", "since", "source"};
    const char *key;
    json_t *v;
    *ret = (struct admin_suppress){0};
    *why = "each of recipients is an object with recipient, user, reason, since, source";
    json_object_foreach(o, key, v)
    {
        if (!request_word_is(key, keys, sizeof keys / sizeof *keys) || !json_is_string(v))
            return false;
    }
    ret->recipient = text_of(o, "recipient");
    ret->user = text_of(o, "user");
    ret->reason = text_of(o, "reason");
    ret->source = text_of(o, "source");
    const struct slice since = text_of(o, "since");
    *why = "since is no time such as 2026-01-02T03:04:05Z";
    return json_is_object(o) && (since.n == 0 || wall_parse_rfc3339(since, &ret->since));
}

/* All of them can be done, so that a request is not left half done for a typing error. */
static bool are_good(struct peer *p, const json_t *list)
{
    const struct admin_hooks *h = &p->admin->hooks;
    char text[700];
    const char *why;
    struct admin_suppress s;
    const size_t n = json_array_size(list);
    if (n == 0 || n > ENTRIES_MAX) {
        peer_error(p, "usage", "recipients has 1 to 10,000 of them");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!entry_read(json_array_get(list, i), &s, &why)) {
            peer_error(p, "usage", why);
            return false;
        }
        if (!h->suppress_ok(h->ctx, s.recipient)) {
            snprintf(text, sizeof text, "%.*s is no address, and no @domain",
                     SLICE_ARG(slice_head(s.recipient, 512)));
            peer_error(p, "usage", text);
            return false;
        }
    }
    return true;
}

static const char *problem_of(int rc)
{
    return rc == -ENOSPC ? "the list is full" : "a user, source or reason cannot be kept as it is";
}

void suppress_change(struct peer *p)
{
    const struct admin_hooks *h = &p->admin->hooks;
    const json_t *list = p->task.request.recipients;
    const bool add = p->task.request.verb == VERB_SUPPRESS_ADD;
    const size_t n = json_array_size(list);
    uint64_t changed = 0;
    struct err e = {0};
    int rc = 0;
    if (!are_good(p, list))
        return;
    for (size_t i = 0; i < n && rc >= 0; i++) {
        struct admin_suppress s;
        const char *why;
        MUST(entry_read(json_array_get(list, i), &s, &why));
        rc = add ? h->suppress_add(h->ctx, &s) : h->suppress_remove(h->ctx, &s);
        changed += rc > 0;
    }
    /* What was done is made durable, also when the rest cannot be. */
    const int synced =
        h->suppress_sync(h->ctx, slice_str(p->actor), add ? changed : 0, add ? 0 : changed, &e);
    if (rc < 0 || synced < 0) {
        peer_error(p, rc < 0 ? "usage" : "disk", rc < 0 ? problem_of(rc) : e.text);
        return;
    }
    json_t *done = json_object();
    rows_put_number(done, "matched", n);
    rows_put_number(done, "changed", changed);
    peer_done(p, done);
}
