/* Reports taken apart, and what they are made of. */
#pragma once
#include "relay/base/defer.h"
#include "relay/mail/dsn.h"
#include "relay/mail/header.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_FIELDS = 64 };

struct part {
    struct header_field fields[MAX_FIELDS];
    size_t n;
    struct slice body;
};

/* A value must be there exactly once; blanks around it do not count. */
static inline struct slice value_of(const struct part *p, const char *name)
{
    struct slice found = SLICE_NONE;
    size_t count = 0;
    for (size_t i = 0; i < p->n; i++)
        if (slice_ieq(p->fields[i].name, slice_str(name))) {
            found = slice_trim(p->fields[i].value);
            count++;
        }
    if (count > 1)
        fail_msg("%s stands there %zu times", name, count);
    return found;
}

static inline void assert_value(const struct part *p, const char *name, const char *want)
{
    struct slice got = value_of(p, name);
    if (!slice_eq(got, slice_str(want)))
        fail_msg("%s: \"%.*s\" instead of \"%s\"", name, SLICE_ARG(got), want);
}

/* Fields up to the empty line (or the end of s); what stands behind is the body. */
static inline struct part read_part(struct slice s)
{
    struct part p = {.n = 0};
    struct header_field f;
    while (header_next(&s, &f)) {
        assert_true(p.n < MAX_FIELDS);
        assert_true(f.name.p + f.name.n < f.raw.p + f.raw.n && f.name.p[f.name.n] == ':');
        p.fields[p.n++] = f;
    }
    if (s.n > 0)
        assert_true(slice_starts(s, SLICE_LIT("\r\n")));
    p.body = slice_skip(s, 2);
    return p;
}

struct report {
    struct part top, text, status, original;
    struct part recipients[8]; /* the groups of the status part behind the first */
    size_t n_recipients;
};

static inline struct slice boundary_of(const struct part *top)
{
    struct slice type = value_of(top, "Content-Type"), b;
    assert_true(slice_starts(type, SLICE_LIT("multipart/report; report-type=delivery-status;")));
    b = slice_skip(type, slice_find_slice(type, SLICE_LIT("boundary=\"")) + 10);
    b = slice_head(b, slice_find(b, '"'));
    assert_in_range(b.n, 1, 70);
    return b;
}

/* RFC 2046: CRLF "--" boundary, then CRLF or the final "--". Exactly three parts and nothing behind
 * them. */
static inline void split_parts(struct slice body, struct slice boundary, struct slice ret[3])
{
    DEFER(buf_done) struct buf mark = BUF_MAX(200);
    buf_add_str(&mark, "\r\n--");
    buf_add(&mark, boundary);
    body = slice_skip(body, slice_find_slice(body, buf_slice(&mark)) + mark.n);
    for (size_t i = 0; i < 3; i++) {
        assert_true(slice_starts(body, SLICE_LIT("\r\n")));
        body = slice_skip(body, 2);
        size_t at = slice_find_slice(body, buf_slice(&mark));
        assert_true(at < body.n);
        ret[i] = slice_head(body, at);
        body = slice_skip(body, at + mark.n);
    }
    assert_true(slice_eq(body, SLICE_LIT("--\r\n")));
}

static inline void assert_ascii_lines(struct slice s)
{
    size_t line = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        assert_true((c >= 32 && c < 127) || c == '\t' || c == '\r' || c == '\n');
        assert_int_equal(c == '\n', i > 0 && s.p[i - 1] == '\r');
        line = c == '\n' ? 0 : line + 1;
        assert_true(line <= 999);
    }
}

static inline void read_typed(struct slice message, struct report *r, const char *status_type)
{
    struct slice parts[3];
    memset(r, 0, sizeof *r);
    r->top = read_part(message);
    split_parts(slice_of(r->top.body.p - 2, r->top.body.n + 2), boundary_of(&r->top), parts);
    bool plain = !strstr(status_type, "global");
    if (plain)
        assert_ascii_lines(slice_head(message, (size_t)(parts[2].p - message.p)));
    r->text = read_part(parts[0]);
    r->status = read_part(parts[1]);
    r->original = read_part(parts[2]);
    struct part group = read_part(r->status.body);
    struct slice type = value_of(&r->status, "Content-Type"), rest = group.body;
    assert_true(slice_eq(type, slice_str(status_type)));
    assert_value(&r->status, "Content-Transfer-Encoding", plain ? "" : "8bit");
    /* A template's words past ASCII are encoded, whatever the report is. */
    if (!slice_eq(value_of(&r->text, "Content-Transfer-Encoding"), SLICE_LIT("quoted-printable")))
        assert_value(&r->text, "Content-Transfer-Encoding", plain ? "" : "8bit");
    r->status = group;
    while (rest.n > 0) {
        assert_true(r->n_recipients < 8);
        group = read_part(rest);
        assert_true(group.n > 0);
        r->recipients[r->n_recipients++] = group;
        rest = group.body;
    }
}

static inline void read_report(struct slice message, struct report *r)
{
    read_typed(message, r, "message/delivery-status");
}

static char words_buf[VERDICT_TEXT_MAX + 1];

static inline struct verdict verdict_with(uint16_t code, struct enhanced e, const char *text)
{
    struct verdict v = {
        .kind = e.class == 4 ? VERDICT_DEFERRED : VERDICT_FAILED, .code = code, .enhanced = e};
    snprintf(words_buf, sizeof words_buf, "%s", text);
    v.text = words_buf;
    v.class = CLASS_BAD_MAILBOX;
    return v;
}

#define ORIGINAL "From: app@example.com\r\nSubject: hi\r\n\r\nhello\r\n"

static inline struct dsn_input input_for(const struct dsn_recipient *rcpts, size_t n)
{
    return (struct dsn_input){.reporting_mta = SLICE_LIT("relay.example.com"),
                              .postmaster = SLICE_LIT("postmaster@example.com"),
                              .to = SLICE_LIT("app@example.com"),
                              .queue_id = SLICE_LIT("01HF7YAT00"),
                              .report_id = SLICE_LIT("01HF7YAT01"),
                              .boundary = SLICE_LIT("01HF7YAT01"),
                              .arrived = {INT64_C(1700000000) * WALL_SECOND},
                              .now = {INT64_C(1700003600) * WALL_SECOND},
                              .rcpts = rcpts,
                              .n_rcpts = n,
                              .original = SLICE_LIT(ORIGINAL)};
}

static inline struct dsn_recipient recipient_for(const struct verdict *v)
{
    return (struct dsn_recipient){.address = SLICE_LIT("bob@example.net"),
                                  .action = DSN_FAILED,
                                  .verdict = v,
                                  .remote_mta = SLICE_LIT("mx.example.net"),
                                  .last_attempt = {INT64_C(1700003599) * WALL_SECOND}};
}

static inline bool has(struct slice s, const char *text)
{
    return slice_find_slice(s, slice_str(text)) < s.n;
}
