/* One event of the delivery log as a line for a person. */
#include "relay/base/utf8.h"
#include "relay/cli/private.h"

enum { WIDEST = 11 }; /* rescheduled, suppressed */

static void add_text(struct buf *out, const char *text)
{
    utf8_clean(out, slice_str(text), out->n + 2000);
}

static void add_named(struct buf *out, const json_t *e, const char *word, const char *key)
{
    const char *text = json_text(e, key);
    if (!text[0])
        return;
    buf_addf(out, " %s", word);
    add_text(out, text);
}

/* Green went well, red is lost, yellow goes on. */
static const char *color_of(const char *event)
{
    static const struct {
        const char *event, *color;
    } colors[] = {{"delivered", "\033[32m"}, {"relayed", "\033[32m"},  {"bounced", "\033[31m"},
                  {"expired", "\033[31m"},   {"rejected", "\033[31m"}, {"deferred", "\033[33m"}};
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++)
        if (strcmp(colors[i].event, event) == 0)
            return colors[i].color;
    return "";
}

/* The reason is what the error means here, and nobody's word for what he did. */
static bool is_in_words(const json_t *e)
{
    return json_text(e, "error")[0] && json_text(e, "reason")[0] && !json_object_get(e, "actor");
}

static void add_reply(struct buf *out, const json_t *e)
{
    int64_t code = json_number(e, "smtp_code");
    const char *said = json_text(e, "response"), *error = json_text(e, "error");
    if (code || said[0] || error[0])
        buf_add_str(out, ":");
    if (code)
        buf_addf(out, " %lld", (long long)code);
    add_named(out, e, "", "enhanced_status");
    if (!code && error[0])
        add_named(out, e, "", "error");
    add_named(out, e, "", "response");
    if (is_in_words(e)) {
        buf_add_str(out, ":");
        add_named(out, e, "", "reason");
    }
}

/* "2026-01-02T03:04:05.123456Z" → "2026-01-02 03:04:05" */
static void add_time(struct buf *out, const char *time)
{
    struct slice s = slice_head(slice_str(time), 19);
    for (size_t i = 0; i < s.n; i++)
        buf_add_u8(out, s.p[i] == 'T' ? ' ' : s.p[i] < ' ' || s.p[i] > 126 ? '?' : s.p[i]);
}

static void add_next(struct buf *out, const json_t *e)
{
    const char *next = json_text(e, "next_attempt");
    if (!next[0])
        return;
    buf_add_str(out, " (next try ");
    add_time(out, next);
    buf_add_str(out, ")");
}

/* The sender of a message, and to whom; of a report to whom it goes. */
static void add_parties(struct buf *out, const json_t *e)
{
    if (!json_object_get(e, "sender") && !json_object_get(e, "recipient"))
        return;
    buf_add_str(out, "  ");
    add_text(out, json_text(e, "sender")[0] ? json_text(e, "sender") : "<>");
    add_named(out, e, "-> ", "recipient");
}

/* Where an operator sent it. */
static void add_new_way(struct buf *out, const json_t *e)
{
    if (strcmp(json_text(e, "event"), "rerouted") != 0)
        return;
    if (json_text(e, "destination")[0])
        add_named(out, e, "to destination ", "destination");
    else
        buf_add_str(out, " back to the way of its domain");
}

bool log_line(struct buf *out, const json_t *e, bool color)
{
    const char *event = json_text(e, "event"), *dye = color ? color_of(event) : "";
    const char *user = json_text(e, "user");
    if (!event[0])
        return false;
    add_time(out, json_text(e, "time"));
    buf_addf(out, "  %s", dye);
    add_text(out, event);
    for (size_t n = strlen(event); n < WIDEST; n++)
        buf_add_u8(out, ' ');
    buf_add_str(out, dye[0] ? "\033[0m" : "");
    add_named(out, e, " ", "queue_id");
    add_parties(out, e);
    if (user[0])
        add_named(out, e, "user ", "user");
    add_named(out, e, "from ", "client_ip");
    add_named(out, e, "by ", "mx_host");
    add_new_way(out, e);
    add_reply(out, e);
    add_next(out, e);
    add_named(out, e, "actor ", "actor");
    if (!is_in_words(e))
        add_named(out, e, "reason: ", "reason");
    add_named(out, e, "is told: ", "dsn_kind");
    add_named(out, e, "not before ", "release");
    return !out->overflow;
}
