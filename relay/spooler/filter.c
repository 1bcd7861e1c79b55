/* Which recipients an operator means. All conditions must hold; an empty filter means every one. */
#include "relay/base/defer.h"
#include "relay/spooler/core_int.h"
#include <stdlib.h>

enum { STATE_READY = 1, STATE_WAITING = 2, STATE_HELD = 4, STATE_ACTIVE = 8 };

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void filter_prepare(struct queue_filter *f)
{
    if (f->n_ids)
        qsort(f->ids, f->n_ids, sizeof *f->ids, compare_ids);
}

uint64_t filter_next_id(const struct queue_filter *f, uint64_t after)
{
    size_t low = 0, high = f->n_ids;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (f->ids[mid] > after)
            high = mid;
        else
            low = mid + 1;
    }
    return low < f->n_ids ? f->ids[low] : 0;
}

static bool equal_or_any(const struct buf *want, struct slice have)
{
    return want->n == 0 || slice_ieq(buf_slice(want), have);
}

static bool glob_or_any(const struct buf *pattern, struct slice have)
{
    return pattern->n == 0 || slice_glob(buf_slice(pattern), have);
}

static bool has_tag(struct slice want, struct slice tags)
{
    struct slice key = slice_cut(&want, '=');
    while (tags.n) {
        struct slice value = slice_cut(&tags, '\n');
        if (slice_eq(slice_cut(&value, '='), key) && slice_glob(want, value))
            return true;
    }
    return false;
}

bool filter_match_message(const struct queue_filter *f, const struct message *m, struct wall now)
{
    int64_t age_s = (now.us - m->queued.us) / WALL_SECOND;
    return glob_or_any(&f->from, message_sender(m)) && equal_or_any(&f->user, message_user(m)) &&
           (f->tag.n == 0 || has_tag(buf_slice(&f->tag), message_tags(m))) &&
           m->size >= f->size_ge && (f->older_than_s == 0 || age_s > f->older_than_s) &&
           (f->newer_than_s == 0 || age_s < f->newer_than_s);
}

static unsigned state_bit(const struct recipient *r)
{
    struct slice site, destination;
    if (r->active)
        return STATE_ACTIVE;
    if (r->state == RCPT_HELD)
        return STATE_HELD;
    return sched_where(r, &site, &destination) ? STATE_READY : STATE_WAITING;
}

/* "4" means any 4xx. Where no reply was given, the enhanced code's class speaks. */
static bool code_matches(unsigned want, const struct verdict *v)
{
    if (!v)
        return false;
    unsigned code = v->code ? v->code : v->enhanced.class * 100u;
    return want < 10 ? code / 100 == want : code == want;
}

bool filter_match(const struct queue_filter *f, const struct recipient *r)
{
    struct slice site, destination;
    sched_where(r, &site, &destination);
    if (rcpt_state_final((enum rcpt_state)r->state) || !glob_or_any(&f->to, recipient_address(r)) ||
        !equal_or_any(&f->site, site) || !equal_or_any(&f->destination, destination) ||
        r->attempts < f->attempts_ge)
        return false;
    if (f->states && !(f->states & state_bit(r)))
        return false;
    if (f->code && !code_matches(f->code, recipient_last(r)))
        return false;
    if (f->reply.n == 0)
        return true;
    const struct verdict *last = recipient_last(r);
    struct slice said = slice_str(last ? last->text : NULL);
    return slice_find_slice(said, buf_slice(&f->reply)) < said.n;
}
