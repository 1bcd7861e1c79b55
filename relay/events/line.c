/*
 * Lines of the delivery log (contract: contrib/schema/postwain-events.v1.json). Pure: the same
 * event and node give the same bytes at any time, which is what lets a replay complete a torn line.
 * Order of keys: v, seq, id, time, node, event, final, then event.def's.
 */
#include "relay/events/line.h"
#include "relay/base/defer.h"
#include "relay/base/jtext.h"
#include "relay/events/masked.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define EVENT_START "{\"v\":1,\"seq\":"
#define SERVICE_START "{\"v\":1,\"event\":\"log_"
#define OPENED_START SERVICE_START "opened\",\"file_id\":\""

enum {
    NODE_MAX = 255,
    TAGS_MAX = 16,
    SMALL_FIELDS = 1536, /* encoded: fits into a line however much is escaped */
    /* One more than the highest tag of event.def. */
    TAG_END = sizeof(union {
#define X(tag, name, key, type) char of_##name[(tag) + 1];
#include "queue/event.def"
#undef X
    })
};

static const enum event_field order[] = {
#define X(tag, name, key, type) EV_##name,
#include "queue/event.def"
#undef X
};

/* In the same order, as each stands in a line. */
static const struct slice key_texts[] = {
#define X(tag, name, key, type) {(const uint8_t *)",\"" key "\":", sizeof ",\"" key "\":" - 1},
#include "queue/event.def"
#undef X
};

/* How much of each text goes into a line. The narrow one is for hostile events: all of event.def's
 * texts at that size stay below LINE_MAX_BYTES together. */
struct widths {
    size_t raw, escaped, tag;
};
static const struct widths wide = {1024, SIZE_MAX, 256};
static const struct widths narrow = {1024, 292, 64};

/* ---- events ---- */

struct fields {
    bool has[TAG_END];
    struct event_value of[TAG_END];
};

static void fields_read(struct fields *f, struct slice encoded)
{
    struct cursor c = cursor_of(encoded);
    struct event_value v;
    while (event_next(&c, &v)) {
        if (f->has[v.field] || (v.type == EVT_STR && v.str.n == 0))
            continue;
        f->has[v.field] = true;
        f->of[v.field] = v;
    }
}

/* printf costs more than all else of a line together, and there are two lines a message: what each
 * of them has is written without. */
static void add_time(struct buf *out, struct wall t)
{
    char text[1 + WALL_RFC3339_SIZE] = "\"";
    wall_rfc3339(t, text + 1);
    text[sizeof text - 1] = '"'; /* where its NUL was */
    buf_add(out, slice_of(text, sizeof text));
}

/* Adds the sign; returns the rest. */
static uint64_t add_sign(struct buf *out, int64_t n)
{
    if (n < 0)
        buf_add_u8(out, '-');
    return n < 0 ? -(uint64_t)n : (uint64_t)n;
}

static void add_seconds(struct buf *out, int64_t ms)
{
    const uint64_t size = add_sign(out, ms);
    const unsigned rest = (unsigned)(size % 1000);
    const uint8_t fraction[] = {'.', (uint8_t)('0' + rest / 100), (uint8_t)('0' + rest / 10 % 10),
                                (uint8_t)('0' + rest % 10)};
    jtext_number(out, size / 1000);
    buf_add(out, slice_of(fraction, sizeof fraction));
}

/* Of a key that comes twice the first counts: a JSON object has each key once. */
static bool key_seen(const struct slice *keys, size_t n, struct slice key)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eq(keys[i], key))
            return true;
    return false;
}

static void add_map(struct buf *out, struct slice encoded, enum event_field field,
                    const struct widths *w)
{
    struct slice keys[TAGS_MAX];
    size_t n = 0;
    struct cursor c = cursor_of(encoded);
    struct event_value v;
    buf_add_u8(out, '{');
    while (n < TAGS_MAX && event_next(&c, &v)) {
        if (v.field != field)
            continue;
        struct slice value = v.str, key = slice_cut(&value, '=');
        if (key_seen(keys, n, key))
            continue;
        if (n > 0)
            buf_add_u8(out, ',');
        keys[n++] = key;
        jtext_string(out, key, w->raw, w->tag);
        buf_add_u8(out, ':');
        jtext_string(out, value, w->raw, w->tag);
    }
    buf_add_u8(out, '}');
}

/* Returns true when the value was cut. */
static bool add_value(struct buf *out, const struct event_value *v, struct slice encoded,
                      const struct widths *w)
{
    switch (v->type) {
    case EVT_STR:
        return jtext_string(out, v->str, w->raw, w->escaped);
    case EVT_INT:
        jtext_number(out, add_sign(out, v->num));
        break;
    case EVT_SECONDS:
        add_seconds(out, v->num);
        break;
    case EVT_TIME:
        add_time(out, (struct wall){v->num});
        break;
    case EVT_BOOL:
        buf_add_str(out, v->num ? "true" : "false");
        break;
    case EVT_MAP:
        add_map(out, encoded, v->field, w);
        break;
    }
    return false;
}

static void add_head(struct buf *out, const struct event *e, struct slice node)
{
    const char *name = event_name_text(e->name);
    DEFER(buf_done) struct buf id = BUF_MAX(NODE_MAX + 32);
    node = slice_head(node, NODE_MAX);
    buf_add(&id, node);
    buf_add_u8(&id, '-');
    jtext_number(&id, e->seq);
    buf_add(out, SLICE_LIT(EVENT_START));
    jtext_number(out, e->seq);
    buf_add(out, SLICE_LIT(",\"id\":"));
    jtext_string(out, buf_slice(&id), SIZE_MAX, SIZE_MAX);
    buf_add(out, SLICE_LIT(",\"time\":"));
    add_time(out, e->time);
    buf_add(out, SLICE_LIT(",\"node\":"));
    jtext_string(out, node, SIZE_MAX, SIZE_MAX);
    buf_add(out, SLICE_LIT(",\"event\":\""));
    buf_add_str(out, name ? name : "unknown");
    buf_add_u8(out, '"');
    if (event_is_final(e->name))
        buf_add_str(out, ",\"final\":true");
}

static void add_line(struct buf *out, const struct event *e, struct fields *f,
                     const struct line_style *style, const struct widths *w)
{
    add_head(out, e, slice_str(style->node));
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const enum event_field field = order[i];
        if (!f->has[field])
            continue;
        buf_add(out, key_texts[i]);
        bool cut = add_value(out, &f->of[field], e->fields, w);
        /* The mark follows the response in event.def's order, so it is still to come. */
        if (cut && field == EV_RESPONSE) {
            f->has[EV_RESPONSE_TRUNCATED] = true;
            f->of[EV_RESPONSE_TRUNCATED] =
                (struct event_value){.field = EV_RESPONSE_TRUNCATED, .type = EVT_BOOL, .num = 1};
        }
    }
    buf_add_str(out, "}\n");
}

/* What the style does not show is taken out of the fields; the new texts lie in `texts`. */
static void hide(struct fields *f, struct masked *texts, const struct line_style *style)
{
    if (style->recipients == EVENTS_FULL)
        return;
    f->has[EV_ORCPT] = false;
    f->has[EV_REVERSE_PATH] = false; /* it has the recipient in it */
    struct event_value *recipient = &f->of[EV_RECIPIENT];
    if (f->has[EV_RECIPIENT])
        recipient->str =
            style->recipients == EVENTS_HASHED
                ? masked_address(texts, recipient->str, slice_of(style->key, style->key_n))
                : masked_whole(texts, recipient->str);
    static const enum event_field words[] = {EV_RESPONSE, EV_REASON};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (f->has[words[i]])
            f->of[words[i]].str = masked_words(texts, f->of[words[i]].str);
}

void line_event(struct buf *out, const struct event *e, const struct line_style *style)
{
    struct fields f = {0};
    DEFER(masked_done) struct masked texts = {0};
    fields_read(&f, e->fields);
    hide(&f, &texts, style);
    if (e->fields.n <= SMALL_FIELDS) {
        add_line(out, e, &f, style, &wide);
        return;
    }
    DEFER(buf_done) struct buf line = BUF_MAX(LINE_MAX_BYTES);
    add_line(&line, e, &f, style, &wide);
    if (line.overflow)
        add_line(out, e, &f, style, &narrow);
    else
        buf_add(out, buf_slice(&line));
}

void event_line(struct buf *out, const struct event *e, const char *node)
{
    line_event(out, e, &(struct line_style){.node = node});
}

/* ---- service lines ---- */

static const char about[] =
    "This is the delivery log of a postwain mail relay: JSON Lines, one line for one event of one "
    "recipient. The fields are described by postwain-events.v1.json, which 'postwain log --schema' "
    "prints; within version 1 of it fields are only ever added, so pass over those that you do not "
    "know. Each event has a number, seq, that grows by one from line to line and from file to "
    "file: keep the last one that you have dealt with, and a gap tells you that something is "
    "missing. A line that was written again after a crash has the same id as before. Terminal "
    "events carry final: true, and every accepted recipient gets exactly one of them. A last line "
    "that does not end in a line feed is still being written. This first line belongs to the file "
    "and not to any mail: it has no seq, its file_id is unique, and it is longer than 1,024 bytes, "
    "because programs that collect log files tell them apart by their beginning, and files that "
    "begin alike would be taken for one and the same. When the file is full, it is renamed to one "
    "with the time and the last seq in its name, its last line is log_closed, and a new file is "
    "begun under the old name. No file is ever shortened.";
static_assert(sizeof about > 1024, "a fingerprint of the first KiB must be of this line alone");

static void add_service_tail(struct buf *out, const char *node, struct wall now, uint64_t next_seq)
{
    buf_add_str(out, ",\"time\":");
    add_time(out, now);
    buf_add_str(out, ",\"node\":");
    jtext_string(out, slice_head(slice_str(node), NODE_MAX), SIZE_MAX, SIZE_MAX);
    buf_addf(out, ",\"next_seq\":%" PRIu64, next_seq);
}

void line_opened(struct buf *out, const char *file_id, const char *node, struct wall now,
                 uint64_t next_seq)
{
    buf_addf(out, OPENED_START "%s\"", file_id);
    add_service_tail(out, node, now, next_seq);
    buf_addf(out, ",\"about\":\"%s\"}\n", about);
}

void line_closed(struct buf *out, const char *file_id, const char *node, struct wall now,
                 uint64_t next_seq)
{
    buf_add_str(out, SERVICE_START "closed\"");
    if (file_id[0])
        buf_addf(out, ",\"file_id\":\"%s\"", file_id);
    add_service_tail(out, node, now, next_seq);
    buf_add_str(out, "}\n");
}

static bool number_at(struct slice s, uint64_t *ret)
{
    size_t n = 0;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    return n < s.n && slice_u64(slice_head(s, n), UINT64_MAX, ret);
}

bool line_seq(struct slice line, uint64_t *ret)
{
    static const struct slice next = {(const uint8_t *)"\"next_seq\":", 11};
    if (slice_starts(line, SLICE_LIT(EVENT_START)))
        return number_at(slice_skip(line, sizeof EVENT_START - 1), ret);
    if (!slice_starts(line, SLICE_LIT(SERVICE_START)))
        return false;
    uint64_t seq = 0;
    size_t at = slice_find_slice(line, next);
    if (at == line.n || !number_at(slice_skip(line, at + next.n), &seq) || seq == 0)
        return false;
    *ret = seq - 1;
    return true;
}

bool line_opened_time(struct slice line, struct wall *ret)
{
    static const struct slice key = {(const uint8_t *)"\"time\":\"", 8};
    if (!slice_starts(line, SLICE_LIT(OPENED_START)))
        return false;
    struct slice rest = slice_skip(line, slice_find_slice(line, key) + key.n);
    return wall_parse_rfc3339(slice_cut(&rest, '"'), ret);
}

struct slice line_file_id(struct slice line)
{
    if (!slice_starts(line, SLICE_LIT(OPENED_START)))
        return SLICE_NONE;
    struct slice rest = slice_skip(line, sizeof OPENED_START - 1);
    return slice_cut(&rest, '"');
}
