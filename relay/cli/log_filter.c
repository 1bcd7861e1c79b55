/* Which events the FILTER options let pass: those of one option by any of its values, and all
 * options must. */
#include "queue/event.h"
#include "relay/base/must.h"
#include "relay/base/verdict.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <stdlib.h>

struct log_filter {
    const struct cli_args *a;
    json_t *limits;             /* filter_of's, for numbers, times and ids: checked there */
    int64_t older_us, newer_us; /* as moments; 0: not asked for */
};

/* Options whose pattern is held against one text of the event. */
static const struct {
    const char *option, *key;
} texts[] = {{"event", "event"},
             {"from", "sender"},
             {"to", "recipient"},
             {"user", "user"},
             {"destination", "destination"},
             {"site", "site"},
             {"class", "class"},
             {"error", "error"}};

static int64_t moment(const json_t *limits, const char *key, struct wall now)
{
    const json_t *v = json_object_get(limits, key);
    return v ? now.us - (int64_t)json_integer_value(v) * WALL_SECOND : 0;
}

static const char *event_at(unsigned i)
{
    static const char *const of_files[] = {"log_opened", "log_closed"};
    const char *text = event_name_text((enum event_name)(EVENT_ACCEPTED + i));
    const unsigned n = EVENT_SPOOL_DAMAGED - EVENT_ACCEPTED + 1;
    return i < n ? text : i - n < 2 ? of_files[i - n] : NULL;
}

static const char *class_at(unsigned i)
{
    const unsigned n = CLASS_OTHER - CLASS_NONE;
    return i < n ? class_name((enum verdict_class)(CLASS_NONE + 1 + i)) : NULL;
}

/* Texts of which all are known: a pattern that fits none is a typing error, and would be waited for
 * in vain. */
static const struct {
    const char *option;
    const char *(*at)(unsigned i); /* NULL behind the last */
} known[] = {{"event", event_at}, {"class", class_at}};

static bool fits_one(const char *pattern, const char *(*at)(unsigned i))
{
    const char *text;
    for (unsigned i = 0; (text = at(i)); i++)
        if (slice_glob(slice_str(pattern), slice_str(text)))
            return true;
    return false;
}

static bool all_are_known(const struct cli_args *a, int *ret_exit)
{
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        for (size_t i = 0; i < a->n; i++)
            if (strcmp(a->names[i], known[k].option) == 0 && !fits_one(a->values[i], known[k].at)) {
                *ret_exit = args_wrong(a, "--%s: there is no %s; postwain log --schema has them",
                                       known[k].option, a->values[i]);
                return false;
            }
    return true;
}

struct log_filter *log_filter_new(const struct cli_args *a, int *ret_exit)
{
    json_t *limits = all_are_known(a, ret_exit) ? filter_of(a, ret_exit) : NULL;
    if (!limits)
        return NULL;
    struct log_filter *f = must_alloc(sizeof *f);
    f->a = a;
    f->limits = limits;
    f->older_us = moment(limits, "older_than_s", wall_now());
    f->newer_us = moment(limits, "newer_than_s", wall_now());
    return f;
}

void log_filter_free(struct log_filter *f)
{
    if (!f)
        return;
    json_decref(f->limits);
    free(f);
}

static bool text_matches(const struct cli_args *a, const char *option, struct slice value)
{
    bool asked = false, hit = false;
    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->names[i], option) != 0)
            continue;
        asked = true;
        hit = hit || slice_glob(slice_str(a->values[i]), value);
    }
    return !asked || hit;
}

static bool texts_match(const struct log_filter *f, const json_t *event)
{
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        if (!text_matches(f->a, texts[t].option, slice_str(json_text(event, texts[t].key))))
            return false;
    return true;
}

static bool tag_matches(const json_t *event, const char *want)
{
    struct slice pattern = slice_str(want), key = slice_cut(&pattern, '=');
    const char *name;
    const json_t *value;
    json_object_foreach(json_object_get(event, "tags"), name, value)
    {
        if (slice_eq(slice_str(name), key) &&
            slice_glob(pattern, slice_str(json_string_value(value))))
            return true;
    }
    return false;
}

static bool tags_match(const struct log_filter *f, const json_t *event)
{
    for (size_t i = 0; i < f->a->n; i++)
        if (strcmp(f->a->names[i], "tag") == 0 && !tag_matches(event, f->a->values[i]))
            return false;
    return true;
}

static bool id_matches(const struct log_filter *f, const json_t *event)
{
    const json_t *ids = json_object_get(f->limits, "id"), *id;
    struct slice mine = slice_str(json_text(event, "queue_id"));
    size_t i;
    json_array_foreach(ids, i,
                       id) if (slice_ieq(slice_str(json_string_value(id)), mine)) return true;
    return !ids;
}

/* "4xx" or "450", of three characters: filter_of has seen to it. */
static bool code_matches(const struct log_filter *f, const json_t *event)
{
    const char *want = json_text(f->limits, "code");
    const int64_t code = json_number(event, "smtp_code");
    if (!want[0])
        return true;
    uint64_t exact = 0;
    return slice_u64(slice_str(want), 999, &exact) ? code == (int64_t)exact
                                                   : code / 100 == want[0] - '0';
}

/* What the receiver said last, or why it could not be asked, as in the queue. */
static bool reply_matches(const struct log_filter *f, const json_t *event)
{
    struct buf pattern = BUF_MAX(65536);
    const char *want = json_text(f->limits, "reply");
    const bool is_said = !json_text(event, "error")[0] || json_number(event, "smtp_code");
    buf_addf(&pattern, "*%s*", want);
    bool hit = !want[0] || slice_glob(slice_str(buf_str(&pattern)),
                                      slice_str(json_text(event, is_said ? "response" : "reason")));
    buf_done(&pattern);
    return hit;
}

static bool is_at_least(const struct log_filter *f, const char *limit, const json_t *event,
                        const char *key)
{
    const json_t *least = json_object_get(f->limits, limit);
    return !least || json_number(event, key) >= json_integer_value(least);
}

static bool time_matches(const struct log_filter *f, const json_t *event)
{
    struct wall at = {0};
    if (!f->older_us && !f->newer_us)
        return true;
    if (!show_parse_time(json_text(event, "time"), &at))
        return false;
    return (!f->older_us || at.us < f->older_us) && (!f->newer_us || at.us >= f->newer_us);
}

bool log_matches(const struct log_filter *f, const json_t *event)
{
    return texts_match(f, event) && tags_match(f, event) && id_matches(f, event) &&
           code_matches(f, event) && reply_matches(f, event) &&
           is_at_least(f, "attempts_ge", event, "attempt") &&
           is_at_least(f, "size_ge", event, "size") && time_matches(f, event);
}
