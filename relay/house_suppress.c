/* The suppression list: made, fed with events, and reached by the control socket. */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/house.h"
#include "relay/mail/address.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_MAX = 64 };

static struct suppress_policy policy_of(const struct conf *c)
{
    return (struct suppress_policy){.bounces = c->suppression_bounces,
                                    .within_s = c->suppression_within_s,
                                    .keep_s = c->suppression_keep_s,
                                    .by_user = c->suppression_scope == CONF_SCOPE_USER};
}

static void on_old_event(void *ctx, const struct event *e)
{
    suppress_event(ctx, e);
}

/* What happened while the list was not written is counted now, as far as the spool has it still. */
static void catch_up(struct house *h)
{
    if (!h->conf->suppression_bounces)
        return;
    int rc = spooler_replay(h->spooler, suppress_seen(h->suppress), on_old_event, h->suppress);
    if (rc < 0)
        LOG(LV_WARN, "suppression_list", LOG_S("problem", strerror(-rc)),
            LOG_S("meaning", "bounces from before the start are not counted"));
}

int house_make_suppress(struct house *h, struct err *e)
{
    char folder[4096];
    int code = 0;
    size_t damaged = 0;
    const struct suppress_policy policy = policy_of(h->conf);
    snprintf(folder, sizeof folder, "%s/suppress", h->conf->spool_path);
    h->suppress_fs = file_posix_new(folder, &code);
    if (!h->suppress_fs)
        return err_set(e, -code, "cannot use the folder %s: %s", folder, strerror(code));
    int rc = suppress_new(&h->suppress, h->suppress_fs, &policy, &damaged, e);
    if (rc < 0)
        return rc;
    if (damaged)
        LOG(LV_WARN, "suppression_list", LOG_N("damaged_lines", damaged),
            LOG_S("meaning", "they are left out; suppress/list.damaged in the spool has them"));
    catch_up(h);
    return 0;
}

void house_suppress_reconfigure(struct house *h)
{
    const struct suppress_policy policy = policy_of(h->conf);
    suppress_set_policy(h->suppress, &policy);
}

void house_free_suppress(struct house *h)
{
    suppress_free(h->suppress);
    if (h->suppress_fs)
        file_posix_free(h->suppress_fs);
}

/* --- operators
 * ------------------------------------------------------------------------------------------ */

bool house_suppressed(void *ctx, size_t *at, struct admin_suppressed *rows, size_t max,
                      size_t *ret_n)
{
    struct house *h = ctx;
    struct suppress_name found[PAGE_MAX];
    const bool more = suppress_page(h->suppress, at, found, max < PAGE_MAX ? max : PAGE_MAX, ret_n);
    for (size_t i = 0; i < *ret_n; i++) {
        const struct suppress_name *f = &found[i];
        rows[i] =
            (struct admin_suppressed){.since = f->since, .source = suppress_source_name(f->source)};
        memcpy(rows[i].user, f->user, sizeof f->user);
        memcpy(rows[i].recipient, f->address, sizeof f->address);
        memcpy(rows[i].reason, f->reason, sizeof f->reason);
    }
    return more;
}
_Static_assert(sizeof((struct admin_suppressed *)0)->user == SUPPRESS_USER_MAX + 1, "room for any");
_Static_assert(sizeof((struct admin_suppressed *)0)->recipient == SUPPRESS_ADDRESS_MAX + 1,
               "room for any");
_Static_assert(sizeof((struct admin_suppressed *)0)->reason == SUPPRESS_REASON_MAX + 1,
               "room for any");

_Static_assert(ADMIN_SUPPRESSED_WHY >= SUPPRESS_WORDS_SIZE, "room for any");

bool house_suppress_asked(void *ctx, struct slice user, struct slice recipient,
                          char why[ADMIN_SUPPRESSED_WHY], bool *ret_drop)
{
    struct house *h = ctx;
    struct suppress_found f;
    if (!suppress_find(h->suppress, user, recipient, &f))
        return false;
    metric_add(M_SUPPRESSED, 1);
    suppress_words(&f, why);
    uv_mutex_lock(&h->reloading);
    *ret_drop = h->conf->suppression_action == CONF_SUPPRESS_DROP;
    uv_mutex_unlock(&h->reloading);
    return true;
}

/* An address, or "@" and a domain. */
bool house_suppress_ok(void *ctx, struct slice recipient)
{
    struct address a;
    char one[SUPPRESS_ADDRESS_MAX + 2];
    (void)ctx;
    if (recipient.n == 0 || recipient.n > SUPPRESS_ADDRESS_MAX)
        return false;
    if (recipient.p[0] != '@')
        return address_parse_form(recipient, ADDRESS_UTF8, &a);
    one[0] = 'x';
    memcpy(one + 1, recipient.p, recipient.n);
    return address_parse_form(slice_of(one, recipient.n + 1), ADDRESS_UTF8, &a);
}

int house_suppress_add(void *ctx, const struct admin_suppress *s)
{
    struct house *h = ctx;
    enum suppress_source source = SUPPRESS_BY_OPERATOR;
    if (s->source.n && !suppress_source_parse(s->source, &source))
        return -EINVAL;
    return suppress_add(h->suppress, s->user, s->recipient, s->reason, source, s->since);
}

int house_suppress_remove(void *ctx, const struct admin_suppress *s)
{
    struct house *h = ctx;
    return suppress_remove(h->suppress, s->user, s->recipient);
}

int house_suppress_sync(void *ctx, struct slice actor, uint64_t added, uint64_t removed,
                        struct err *e)
{
    struct house *h = ctx;
    if (added + removed == 0)
        return 0;
    LOG(LV_INFO, "suppression_list", LOG_N("added", added), LOG_N("removed", removed),
        LOG_B("actor", actor));
    return suppress_sync(h->suppress, e);
}
