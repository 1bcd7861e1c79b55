#include "relay/admin/asked.h"
#include "relay/admin/rows.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"

/* --- words
 * ------------------------------------------------------------------------------------------------
 */

static const char *const bodies[] = {
    [MAIL_BODY_8BITMIME] = "8BITMIME", [MAIL_BODY_BINARYMIME] = "BINARYMIME"};
static const char *const rets[] = {[MAIL_RET_FULL] = "FULL", [MAIL_RET_HDRS] = "HDRS"};
static const char *const bys[] = {[MAIL_BY_RETURN] = "R", [MAIL_BY_NOTIFY] = "N"};
#define COUNT(list) (sizeof(list) / sizeof *(list))

static const struct {
    unsigned bit;
    const char *word;
} notices[] = {{MAIL_NOTIFY_NEVER, "NEVER"},
               {MAIL_NOTIFY_SUCCESS, "SUCCESS"},
               {MAIL_NOTIFY_FAILURE, "FAILURE"},
               {MAIL_NOTIFY_DELAY, "DELAY"}};

void asked_notify_write(struct buf *out, unsigned notify)
{
    bool first = true;
    for (size_t i = 0; i < COUNT(notices); i++) {
        if (!(notify & notices[i].bit))
            continue;
        buf_add_str(out, first ? "" : ",");
        buf_add_str(out, notices[i].word);
        first = false;
    }
}

static unsigned notice_of(struct slice word)
{
    for (size_t i = 0; i < COUNT(notices); i++)
        if (slice_ieq(word, slice_str(notices[i].word)))
            return notices[i].bit;
    return 0;
}

bool asked_notify_read(struct slice s, unsigned *ret)
{
    unsigned all = 0;
    while (s.n) {
        unsigned bit = notice_of(slice_cut(&s, ','));
        if (!bit)
            return false;
        all |= bit;
    }
    if ((all & MAIL_NOTIFY_NEVER) && all != MAIL_NOTIFY_NEVER)
        return false;
    *ret = all;
    return all != 0;
}

/* --- written
 * ----------------------------------------------------------------------------------------------
 */

static void put_flag(json_t *o, const char *key, bool on)
{
    if (on)
        rows_put(o, key, json_true());
}

static void put_word(json_t *o, const char *key, const char *word)
{
    if (word)
        rows_put(o, key, json_string(word));
}

static void put_time(json_t *o, const char *key, struct wall t)
{
    if (t.us)
        rows_put(o, key, rows_time(t));
}

static void put_tags(json_t *o, struct slice lines)
{
    if (lines.n == 0)
        return;
    json_t *tags = json_object();
    while (lines.n) {
        struct slice value = slice_cut(&lines, '\n'), key = slice_cut(&value, '=');
        json_t *name = rows_text(key);
        rows_put(tags, json_string_value(name), rows_text(value));
        json_decref(name);
    }
    rows_put(o, "tags", tags);
}

void asked_put(json_t *o, const struct asked *a)
{
    const struct mail_params *p = &a->params;
    put_word(o, "body", bodies[p->body]);
    put_word(o, "ret", rets[p->ret]);
    put_word(o, "by", bys[p->by]);
    put_flag(o, "by_trace", p->by_trace);
    put_time(o, "deadline", a->by_deadline);
    put_time(o, "release", a->release);
    put_flag(o, "smtputf8", p->smtputf8);
    put_flag(o, "requiretls", p->requiretls);
    put_flag(o, "tls_optional", p->tls_optional);
    if (p->priority)
        rows_put(o, "priority", json_integer(p->priority));
    put_tags(o, buf_slice(&a->tags));
    rows_put_text(o, "route", buf_slice(&a->route));
}

/* --- read
 * -------------------------------------------------------------------------------------------------
 */

static bool read_word(const json_t *v, const char *const *words, size_t n, unsigned *ret)
{
    const char *text = json_string_value(v);
    for (unsigned i = 0; text && i < n; i++)
        if (words[i] && strcmp(words[i], text) == 0) {
            *ret = i;
            return true;
        }
    return false;
}

bool asked_read_body(const json_t *v, void *at)
{
    unsigned word = 0;
    bool ok = read_word(v, bodies, COUNT(bodies), &word);
    *(enum mail_body *)at = (enum mail_body)word;
    return ok;
}

bool asked_read_ret(const json_t *v, void *at)
{
    unsigned word = 0;
    bool ok = read_word(v, rets, COUNT(rets), &word);
    *(enum mail_ret *)at = (enum mail_ret)word;
    return ok;
}

bool asked_read_by(const json_t *v, void *at)
{
    unsigned word = 0;
    bool ok = read_word(v, bys, COUNT(bys), &word);
    *(enum mail_by *)at = (enum mail_by)word;
    return ok;
}

bool asked_read_priority(const json_t *v, void *at)
{
    const json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < MAIL_PRIORITY_MIN || n > MAIL_PRIORITY_MAX)
        return false;
    *(int8_t *)at = (int8_t)n;
    return true;
}

bool asked_read_time(const json_t *v, void *at)
{
    return json_is_string(v) &&
           wall_parse_rfc3339(slice_of(json_string_value(v), json_string_length(v)), at);
}

static bool is_shown(struct slice s)
{
    uint32_t code;
    for (size_t n; s.n; s = slice_skip(s, n)) {
        n = utf8_char(s, &code);
        if (n == 0 || utf8_is_control(code))
            return false;
    }
    return true;
}

bool asked_read_tags(const json_t *v, void *at)
{
    struct buf *tags = at;
    const char *key;
    json_t *value;
    buf_done(tags);
    buf_init(tags, ASKED_TAGS_MAX * (ASKED_TAG_MAX + 1));
    if (!json_is_object(v) || json_object_size(v) > ASKED_TAGS_MAX)
        return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        struct slice name = slice_str(key);
        struct slice text = slice_of(json_string_value(value), json_string_length(value));
        if (!json_is_string(value) || name.n == 0 || name.n + 1 + text.n > ASKED_TAG_MAX ||
            slice_find(name, '=') < name.n || !is_shown(name) || !is_shown(text))
            return false;
        buf_add_str(tags, tags->n ? "\n" : "");
        buf_addf(tags, "%.*s=%.*s", SLICE_ARG(name), SLICE_ARG(text));
    }
    return !tags->overflow;
}

const char *asked_wrong(const struct asked *a)
{
    if ((a->params.by != MAIL_BY_NONE) != (a->by_deadline.us != 0))
        return "by and deadline go together";
    if (a->params.by_trace && a->params.by == MAIL_BY_NONE)
        return "by_trace goes with by";
    if (a->route.n > ASKED_ROUTE_MAX || !is_shown(buf_slice(&a->route)))
        return "the route is no destination's name";
    return NULL;
}

void asked_done(struct asked *a)
{
    buf_done(&a->tags);
    buf_done(&a->route);
}
