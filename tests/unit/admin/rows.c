/* Answers of the control protocol. If this breaks, scripts and the command line read something else
 * than what is queued, or cannot read it at all. */
#include "relay/admin/rows.h"
#include "relay/base/defer.h"
#include "relay/base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct buf text(struct slice s)
{
    struct buf b = BUF_MAX(1 << 20);
    buf_add(&b, s);
    return b;
}

static struct buf lit(const char *s)
{
    return text(slice_str(s));
}

/* The same row, put together value by value by the JSON library: the oracle. */
static json_t *oracle(const struct queue_row *r, const char *state, bool next)
{
    char id[QUEUE_ID_SIZE];
    json_t *o = json_object();
    queue_id_write(r->id, id);
    rows_put(o, "queue_id", json_string(id));
    rows_put_number(o, "rcpt", r->rcpt);
    rows_put(o, "sender", rows_text(r->sender));
    rows_put(o, "recipient", rows_text(r->recipient));
    rows_put_text(o, "user", r->user);
    rows_put_number(o, "size", r->size);
    rows_put(o, "queued_time", rows_time(r->queued));
    rows_put(o, "state", json_string(state));
    rows_put_number(o, "attempt", r->attempts);
    if (next)
        rows_put(o, "next_attempt", rows_time(r->due));
    if (r->last_attempt.us)
        rows_put(o, "last_attempt", rows_time(r->last_attempt));
    rows_put(o, "expires", rows_time(r->expires));
    rows_put_text(o, "response", r->last_reply);
    rows_put_text(o, "mx_host", r->last_host);
    rows_put_text(o, "destination", r->destination);
    rows_put_text(o, "site", r->site);
    return o;
}

static void assert_like_oracle(const struct queue_row *r, const char *state, bool next)
{
    DEFER(buf_done) struct buf out = BUF_MAX(1 << 20);
    json_t *o = oracle(r, state, next);
    char *want = json_dumps(o, JSON_COMPACT);
    rows_recipient(&out, r, false);
    assert_string_equal(buf_str(&out), want);
    free(want);
    /* Brief: the same without what a table does not show. */
    static const char *const details[] = {"user",    "last_attempt", "expires",
                                          "mx_host", "destination",  "site"};
    for (size_t i = 0; i < sizeof details / sizeof *details; i++)
        json_object_del(o, details[i]);
    want = json_dumps(o, JSON_COMPACT);
    buf_reset(&out);
    rows_recipient(&out, r, true);
    assert_string_equal(buf_str(&out), want);
    free(want);
    json_decref(o);
}

static void test_recipient(void **state)
{
    (void)state;
    struct queue_row r = {
        .id = 1,
        .rcpt = 2,
        .queued = {INT64_C(1767323045000006)},
        .due = {INT64_C(1767323105000006)},
        .expires = {INT64_C(1767755045000006)},
        .last_attempt = {INT64_C(1767323046000000)},
        .size = 1234,
        .attempts = 1,
        .sender = SLICE_LIT("a@example.com"),
        .recipient = SLICE_LIT("b@example.net"),
        .user = SLICE_LIT("app"),
        .last_reply = SLICE_LIT("mailbox full"),
        .last_host = SLICE_LIT("mx.example.net"),
        .site = SLICE_LIT("mx.example.net"),
        .destination = SLICE_LIT("default"),
    };
    DEFER(buf_done) struct buf out = BUF_MAX(1 << 20);
    json_t *id = json_integer(7);
    rows_head(&out, id, "row");
    rows_recipient(&out, &r, false);
    buf_add(&out, SLICE_LIT("}\n"));
    assert_string_equal(
        buf_str(&out),
        "{\"id\":7,\"row\":{\"queue_id\":\"0000000000001\",\"rcpt\":2,\"sender\":\"a@example.com\","
        "\"recipient\":\"b@example.net\",\"user\":\"app\",\"size\":1234,\"queued_time\":\"2026-01-"
        "02T03:04:05.000006Z\","
        "\"state\":\"waiting\",\"attempt\":1,\"next_attempt\":\"2026-01-02T03:05:05.000006Z\","
        "\"last_attempt\":\"2026-01-02T03:04:06.000000Z\",\"expires\":\"2026-01-07T03:04:05."
        "000006Z\","
        "\"response\":\"mailbox "
        "full\",\"mx_host\":\"mx.example.net\",\"destination\":\"default\",\"site\":\"mx.example."
        "net\"}}\n");
    json_decref(id);
    assert_like_oracle(&r, "waiting", true);
}

static void test_states(void **state)
{
    (void)state;
    static const struct {
        enum rcpt_state state;
        bool active, ready, next;
        const char *name;
    } rows[] = {
        {RCPT_QUEUED, false, true, true, "ready"},
        {RCPT_QUEUED, false, false, true, "waiting"},
        {RCPT_QUEUED, true, true, false, "active"},
        {RCPT_HELD, false, false, false, "held"},
        {RCPT_DELIVERED, false, false, false, "delivered"},
        {RCPT_BOUNCED, false, false, false, "bounced"},
        {RCPT_EXPIRED, false, false, false, "expired"},
        {RCPT_CANCELLED, false, false, false, "cancelled"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct queue_row r = {
            .id = 1, .state = rows[i].state, .active = rows[i].active, .ready = rows[i].ready};
        assert_like_oracle(&r, rows[i].name, rows[i].next);
    }
}

/* Whatever stands in the queue: one line, valid JSON, nothing that a terminal obeys. */
static void test_hostile(void **state)
{
    (void)state;
    static const char worst[] = "\x1b[2J\r\n{\"id\":1}\xff\xc3\0\xe2\x80\xae \\ \xc3\xa4 end";
    static uint8_t any[20000];
    for (size_t i = 0; i < sizeof any; i++)
        any[i] = (uint8_t)i;
    const struct queue_row r = {.id = 1,
                                .size = UINT64_MAX,
                                .recipient = slice_of(worst, sizeof worst - 1),
                                .last_reply = slice_of(any, sizeof any)};
    DEFER(buf_done) struct buf out = BUF_MAX(1 << 20);
    rows_head(&out, NULL, "row");
    rows_recipient(&out, &r, false);
    buf_add(&out, SLICE_LIT("}\n"));
    assert_like_oracle(&r, "waiting", true);
    assert_int_equal(slice_find(buf_slice(&out), '\n'), out.n - 1);
    for (struct slice s = slice_head(buf_slice(&out), out.n - 1); s.n > 0;) {
        uint32_t code = 0;
        size_t n = utf8_char(s, &code);
        assert_true(n > 0 && !utf8_is_control(code));
        s = slice_skip(s, n);
    }
    json_t *back = json_loadb((const char *)out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(back);
    assert_null(json_object_get(back, "id"));
    json_decref(back);
}

/* Each single byte, and each cut of what takes several, in each place of a row. */
static void test_any_text(void **state)
{
    (void)state;
    static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\\\"\x7f";
    for (unsigned c = 0; c < 256 + sizeof text; c++) {
        const uint8_t one = (uint8_t)c;
        struct slice s = c < 256 ? slice_of(&one, 1) : slice_of(text, c - 256);
        for (unsigned field = 0; field < 7; field++) {
            struct queue_row r = {.id = c, .attempts = c, .state = RCPT_HELD};
            struct slice *const fields[] = {&r.sender,     &r.recipient, &r.user,
                                            &r.last_reply, &r.last_host, &r.site,
                                            &r.destination};
            *fields[field] = s;
            assert_like_oracle(&r, "held", false);
        }
    }
}

static void test_totals(void **state)
{
    (void)state;
    struct queue_totals t = {.messages = 3,
                             .recipients = 5,
                             .ready = 1,
                             .waiting = 2,
                             .held = 1,
                             .active = 1,
                             .oldest = {INT64_C(10) * WALL_SECOND},
                             .age_buckets = {1, 0, 0, 0, 1, 1}};
    t.errors[0].text = lit("mailbox full");
    t.errors[0].n = 2;
    DEFER(buf_done) struct buf out = BUF_MAX(1 << 20);
    json_t *o = rows_totals(&t, (struct wall){INT64_C(75) * WALL_SECOND + 999999});
    rows_put_ages(o, &t);
    rows_put_errors(o, &t);
    rows_line(&out, NULL, "done", o);
    assert_string_equal(buf_str(&out),
                        "{\"done\":{\"messages\":3,\"recipients\":5,\"ready\":1,\"waiting\":2,"
                        "\"held\":1,\"active\":1,\"oldest_seconds\":65,"
                        "\"age\":{\"1m\":1,\"10m\":0,\"1h\":0,\"6h\":0,\"1d\":1,\"older\":1},"
                        "\"errors\":[{\"response\":\"mailbox full\",\"count\":2}]}}\n");
    buf_done(&t.errors[0].text);
    /* An empty queue, and a clock that was set back. */
    static const struct queue_totals odd[] = {{.oldest = {0}},
                                              {.oldest = {INT64_C(100) * WALL_SECOND}}};
    for (size_t i = 0; i < 2; i++) {
        json_t *e = rows_totals(&odd[i], (struct wall){INT64_C(75) * WALL_SECOND});
        assert_int_equal(json_integer_value(json_object_get(e, "oldest_seconds")), 0);
        json_decref(e);
    }
}

static void test_site(void **state)
{
    (void)state;
    struct queue_site_row s = {.site = lit("mx"),
                               .destination = lit("default"),
                               .ready = 4,
                               .waiting = 5,
                               .connections = 1,
                               .window = 2,
                               .limit = 20,
                               .dead = true,
                               .next_probe_ms = 1001};
    DEFER(buf_done) struct buf out = BUF_MAX(1 << 20);
    rows_line(&out, NULL, "row", rows_site(&s));
    assert_string_equal(
        buf_str(&out),
        "{\"row\":{\"destination\":\"default\",\"site\":\"mx\",\"ready\":4,\"waiting\":5,"
        "\"connections\":1,\"idle\":0,\"window\":2,\"limit\":20,\"per_minute\":0,\"dead\":true,"
        "\"next_probe_seconds\":2}}\n");
    s.next_probe_ms = -1;
    s.throttled = true;
    s.rate = 50;
    s.rate_ms = 1000;
    s.error = lit("mx.test: 421 no");
    json_t *o = rows_site(&s);
    assert_null(json_object_get(o, "next_probe_seconds"));
    assert_true(json_is_true(json_object_get(o, "throttled")));
    assert_int_equal(json_integer_value(json_object_get(o, "rate")), 50);
    assert_int_equal(json_integer_value(json_object_get(o, "rate_seconds")), 1);
    assert_string_equal(json_string_value(json_object_get(o, "last_error")), "mx.test: 421 no");
    assert_non_null(json_object_get(o, "last_error_time"));
    json_decref(o);
    buf_done(&s.error);
    buf_done(&s.site);
    buf_done(&s.destination);
}

static void test_base64(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}}; /* RFC 4648 */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *o = rows_data(slice_str(rows[i][0]));
        assert_string_equal(json_string_value(json_object_get(o, "data_base64")), rows[i][1]);
        json_decref(o);
    }
    json_t *o = rows_data(SLICE_LIT("\xff\xfe\x00\xfb"));
    assert_string_equal(json_string_value(json_object_get(o, "data_base64")), "//4A+w==");
    json_decref(o);
}

/* However the content is cut into pieces, the header ends at the same octet. */
static void test_header_end(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t end; /* 0: it never does */
    } rows[] = {
        {"A: b\r\n\r\nbody\r\n\r\n", 8},
        {"\r\nbody", 2},
        {"A: b\r\n", 0},
        {"A: b\r\r\n\r\n", 9},
        {"A: b\n\nc\r\n\r\n", 11},
        {"A: b\r\n\r\r\n\r\nx", 11},
        {"", 0},
        {"\r", 0},
        {"A\r\n\r\n", 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice all = slice_str(rows[i].text);
        for (size_t a = 0; a <= all.n; a++)
            for (size_t b = a; b <= all.n; b++) {
                const struct slice pieces[] = {
                    slice_head(all, a), slice_skip(slice_head(all, b), a), slice_skip(all, b)};
                struct header_end h = {0};
                size_t before = 0, end = 0;
                for (size_t k = 0; k < 3 && !end; before += pieces[k++].n) {
                    end = rows_header_end(&h, pieces[k]);
                    if (end)
                        end += before;
                }
                assert_int_equal(end, rows[i].end);
            }
    }
}

static void test_error(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf out = BUF_MAX(1 << 20);
    struct problem p = {.code = "usage", .message = "say \"what\"\xff"};
    json_t *id = json_string("x");
    rows_error(&out, id, &p);
    assert_string_equal(
        buf_str(&out),
        "{\"id\":\"x\",\"error\":{\"code\":\"usage\",\"message\":\"say \\\"what\\\"?\"}}\n");
    json_decref(id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipient), cmocka_unit_test(test_states),
        cmocka_unit_test(test_any_text),  cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_totals),    cmocka_unit_test(test_site),
        cmocka_unit_test(test_base64),    cmocka_unit_test(test_header_end),
        cmocka_unit_test(test_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
