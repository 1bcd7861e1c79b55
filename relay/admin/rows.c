#include "relay/admin/rows.h"
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/jrow.h"
#include "relay/base/jtext.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"

enum { TEXT_MAX = 4096 };

/* ---- lines ---- */

static int add_dumped(const char *p, size_t n, void *ctx)
{
    return buf_add(ctx, slice_of(p, n)) ? 0 : -1;
}

void rows_object(struct buf *out, json_t *line)
{
    MUST(json_dump_callback(line, add_dumped, out, JSON_COMPACT) == 0);
    buf_add_u8(out, '\n');
    json_decref(line);
}

void rows_head(struct buf *out, json_t *id, const char *kind)
{
    buf_add_u8(out, '{');
    if (id) {
        buf_add(out, SLICE_LIT("\"id\":"));
        MUST(json_dump_callback(id, add_dumped, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0);
        buf_add_u8(out, ',');
    }
    jtext_string(out, slice_str(kind), SIZE_MAX, SIZE_MAX);
    buf_add_u8(out, ':');
}

void rows_line(struct buf *out, json_t *id, const char *kind, json_t *value)
{
    rows_head(out, id, kind);
    MUST(json_dump_callback(value, add_dumped, out, JSON_COMPACT) == 0);
    buf_add(out, SLICE_LIT("}\n"));
    json_decref(value);
}

void rows_error(struct buf *out, json_t *id, const struct problem *p)
{
    json_t *e = json_object();
    rows_put_text(e, "code", slice_str(p->code));
    rows_put_text(e, "message", slice_str(p->message));
    rows_line(out, id, "error", e);
}

/* ---- values ---- */

void rows_put(json_t *object, const char *key, json_t *value)
{
    MUST(json_object_set_new(object, key, value) == 0);
}

json_t *rows_text(struct slice s)
{
    DEFER(buf_done) struct buf b = BUF_MAX(TEXT_MAX + 1);
    utf8_clean(&b, s, TEXT_MAX);
    return json_stringn(buf_str(&b), b.n);
}

json_t *rows_time(struct wall t)
{
    char text[WALL_RFC3339_SIZE];
    wall_rfc3339(t, text);
    return json_string(text);
}

void rows_put_text(json_t *object, const char *key, struct slice s)
{
    if (s.n > 0)
        rows_put(object, key, rows_text(s));
}

void rows_put_number(json_t *object, const char *key, uint64_t n)
{
    rows_put(object, key, json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n));
}

/* ---- rows ---- */

static const char *state_name(const struct queue_row *r)
{
    if (r->active)
        return "active";
    switch (r->state) {
    case RCPT_QUEUED:
        return r->ready ? "ready" : "waiting";
    case RCPT_HELD:
        return "held";
    case RCPT_DELIVERED:
        return "delivered";
    case RCPT_BOUNCED:
        return "bounced";
    case RCPT_EXPIRED:
        return "expired";
    case RCPT_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

/* Text as rows_text makes it. Most of it is plain and needs no cleaning. */
static void add_text(struct buf *out, struct slice s)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(TEXT_MAX);
    if (s.n > TEXT_MAX || !utf8_plain(s)) {
        utf8_clean(&clean, s, TEXT_MAX);
        s = buf_slice(&clean);
    }
    jtext_string(out, s, SIZE_MAX, SIZE_MAX);
}

static void add_some_text(struct buf *out, struct slice key, struct slice s)
{
    if (s.n == 0)
        return;
    buf_add(out, key);
    add_text(out, s);
}

static void add_time(struct buf *out, struct slice key, struct wall t)
{
    char text[WALL_RFC3339_SIZE];
    wall_rfc3339(t, text);
    buf_add(out, key);
    jtext_string(out, slice_str(text), SIZE_MAX, SIZE_MAX);
}

static void add_number(struct buf *out, struct slice key, uint64_t n)
{
    buf_add(out, key);
    jtext_number(out, n > INT64_MAX ? INT64_MAX : n);
}

/* What only the whole row has, beside who, when and why. */
static void add_details(struct buf *out, const struct queue_row *r)
{
    if (r->last_attempt.us)
        add_time(out, SLICE_LIT(",\"last_attempt\":"), r->last_attempt);
    add_time(out, SLICE_LIT(",\"expires\":"), r->expires);
}

static void add_way(struct buf *out, const struct queue_row *r)
{
    add_some_text(out, SLICE_LIT(",\"mx_host\":"), r->last_host);
    add_some_text(out, SLICE_LIT(",\"destination\":"), r->destination);
    add_some_text(out, SLICE_LIT(",\"site\":"), r->site);
    add_some_text(out, SLICE_LIT(",\"redirected\":"), r->redirected);
}

void rows_recipient(struct buf *out, const struct queue_row *r, bool brief)
{
    char id[QUEUE_ID_SIZE];
    queue_id_write(r->id, id);
    buf_add(out, SLICE_LIT("{\"queue_id\":\""));
    buf_add_str(out, id);
    add_number(out, SLICE_LIT("\",\"rcpt\":"), r->rcpt);
    buf_add(out, SLICE_LIT(",\"sender\":")); /* "" is the null reverse-path */
    add_text(out, r->sender);
    buf_add(out, SLICE_LIT(",\"recipient\":"));
    add_text(out, r->recipient);
    if (!brief)
        add_some_text(out, SLICE_LIT(",\"user\":"), r->user);
    add_number(out, SLICE_LIT(",\"size\":"), r->size);
    add_time(out, SLICE_LIT(",\"queued_time\":"), r->queued);
    buf_add(out, SLICE_LIT(",\"state\":\""));
    buf_add_str(out, state_name(r));
    add_number(out, SLICE_LIT("\",\"attempt\":"), r->attempts);
    if (r->state == RCPT_QUEUED && !r->active)
        add_time(out, SLICE_LIT(",\"next_attempt\":"), r->due);
    if (!brief)
        add_details(out, r);
    add_some_text(out, SLICE_LIT(",\"response\":"), r->last_reply);
    if (!brief)
        add_way(out, r);
    buf_add_u8(out, '}');
}

json_t *rows_site(const struct queue_site_row *s)
{
    DEFER(buf_done) struct buf row = BUF_MAX(4 * TEXT_MAX);
    jrow_begin(&row);
    queue_site_row_write(&row, s, true);
    if (s->suspended)
        jrow_bool(&row, "suspended", true);
    jrow_end(&row);
    json_t *o = json_loadb(buf_str(&row), row.n, 0, NULL);
    MUST(o);
    return o;
}

json_t *rows_totals(const struct queue_totals *t, struct wall now)
{
    json_t *o = json_object();
    int64_t oldest_us = t->oldest.us ? now.us - t->oldest.us : 0;
    rows_put_number(o, "messages", t->messages);
    rows_put_number(o, "recipients", t->recipients);
    rows_put_number(o, "ready", t->ready);
    rows_put_number(o, "waiting", t->waiting);
    rows_put_number(o, "held", t->held);
    rows_put_number(o, "active", t->active);
    rows_put_number(o, "oldest_seconds", oldest_us > 0 ? (uint64_t)(oldest_us / WALL_SECOND) : 0);
    return o;
}

void rows_put_ages(json_t *object, const struct queue_totals *t)
{
    static const char *const names[] = {"1m", "10m", "1h", "6h", "1d", "older"};
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        rows_put_number(o, names[i], t->age_buckets[i]);
    rows_put(object, "age", o);
}

void rows_put_errors(json_t *object, const struct queue_totals *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof t->errors / sizeof *t->errors && t->errors[i].n > 0; i++) {
        json_t *o = json_object();
        rows_put(o, "response", rows_text(buf_slice(&t->errors[i].text)));
        rows_put_number(o, "count", t->errors[i].n);
        MUST(json_array_append_new(list, o) == 0);
    }
    rows_put(object, "errors", list);
}

/* ---- content ---- */

json_t *rows_data(struct slice s)
{
    DEFER(buf_done) struct buf b = BUF_MAX(s.n / 3 * 4 + 8);
    base64_encode(&b, s);
    json_t *o = json_object();
    rows_put(o, "data_base64", json_stringn(buf_str(&b), b.n));
    return o;
}

size_t rows_header_end(struct header_end *h, struct slice piece)
{
    /* How much of CR LF CR LF stands behind us; a message begins at the start of a line. */
    if (!h->begun)
        *h = (struct header_end){.seen = 2, .begun = true};
    for (size_t i = 0; i < piece.n; i++) {
        uint8_t wanted = h->seen % 2 == 0 ? '\r' : '\n';
        h->seen = piece.p[i] == wanted ? h->seen + 1 : piece.p[i] == '\r' ? 1 : 0;
        if (h->seen == 4)
            return i + 1;
    }
    return 0;
}
