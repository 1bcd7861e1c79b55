/* Lines of the delivery log. If this breaks, a consumer's JSON parser stops at a line, a peer's
 * words become structure, or a line written again after a crash is not the line it was. Checklist:
 * promises 11 and 36. */
#include "relay/events/line.h"
#include "relay/base/defer.h"
#include "relay/base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a strict reader of JSON, small enough to be trusted ---- */

static bool json_value(struct slice *s);

static bool take(struct slice *s, uint8_t c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = slice_skip(*s, 1);
    return true;
}

static bool json_string(struct slice *s)
{
    if (!take(s, '"'))
        return false;
    while (s->n > 0 && s->p[0] != '"') {
        uint32_t code;
        size_t n = utf8_char(*s, &code);
        if (n == 0 || utf8_is_control(code))
            return false;
        if (code == '\\') {
            if (s->n < 2)
                return false;
            n = s->p[1] == 'u' ? 6 : 2;
            if (!strchr("\"\\u", s->p[1]) || s->n < n)
                return false;
            for (size_t i = 2; i < n; i++)
                if (!strchr("0123456789abcdef", s->p[i]))
                    return false;
        }
        *s = slice_skip(*s, n);
    }
    return take(s, '"');
}

static bool json_word(struct slice *s)
{
    size_t n = 0;
    while (n < s->n && !strchr(",}", s->p[n]))
        n++;
    struct slice word = slice_head(*s, n);
    *s = slice_skip(*s, n);
    if (slice_eq(word, SLICE_LIT("true")) || slice_eq(word, SLICE_LIT("false")))
        return true;
    struct slice rest = word, whole;
    take(&rest, '-');
    whole = slice_cut(&rest, '.');
    uint64_t v;
    return slice_u64(whole, UINT64_MAX, &v) &&
           (rest.n == 0 || (rest.n == 3 && slice_u64(rest, 999, &v)));
}

static bool json_object(struct slice *s)
{
    if (!take(s, '{'))
        return false;
    if (take(s, '}'))
        return true;
    do {
        if (!json_string(s) || !take(s, ':') || !json_value(s))
            return false;
    } while (take(s, ','));
    return take(s, '}');
}

static bool json_value(struct slice *s)
{
    if (s->n == 0)
        return false;
    return s->p[0] == '{' ? json_object(s) : s->p[0] == '"' ? json_string(s) : json_word(s);
}

static void assert_line(const struct buf *b)
{
    struct slice s = buf_slice(b);
    assert_false(b->overflow);
    assert_true(s.n <= LINE_MAX_BYTES);
    assert_true(json_object(&s));
    assert_true(slice_eq(s, SLICE_LIT("\n")));
}

static bool has(const struct buf *b, const char *text)
{
    return slice_find_slice(buf_slice(b), slice_str(text)) < b->n;
}

/* ---- tests ---- */

static const struct wall when = {INT64_C(1767323045) * WALL_SECOND + 6};

static struct event event_of(uint64_t seq, enum event_name name, const struct buf *fields)
{
    return (struct event){.seq = seq, .time = when, .name = name, .fields = buf_slice(fields)};
}

/* One of each type, given out of order: the line has the table's order, and the same event always
 * gives the same line. */
static void test_whole_line(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf f = BUF_MAX(4096), out = BUF_MAX(65536);
    event_add_str(&f, EV_TAGS, SLICE_LIT("campaign=spring"));
    event_add_str(&f, EV_TAGS, SLICE_LIT("empty"));
    event_add_str(&f, EV_TAGS, SLICE_LIT("campaign=again"));
    event_add_int(&f, EV_TLS_VERIFIED, 0);
    event_add_int(&f, EV_QUEUE_SECONDS, 1234567);
    event_add_time(&f, EV_QUEUED_TIME, (struct wall){when.us - WALL_SECOND});
    event_add_str(&f, EV_RECIPIENT, SLICE_LIT("a@example.com"));
    event_add_str(&f, EV_RECIPIENT, SLICE_LIT("second@example.com"));
    event_add_int(&f, EV_RCPT, 0);
    event_add_str(&f, EV_QUEUE_ID, SLICE_LIT("0123456789ABC"));
    struct event e = event_of(42, EVENT_DELIVERED, &f);
    event_line(&out, &e, "relay.example.com");
    assert_string_equal(buf_str(&out), "{\"v\":1,\"seq\":42,\"id\":\"relay.example.com-42\","
                                       "\"time\":\"2026-01-02T03:04:05.000006Z\","
                                       "\"node\":\"relay.example.com\",\"event\":\"delivered\","
                                       "\"final\":true,\"queue_id\":\"0123456789ABC\","
                                       "\"rcpt\":0,\"recipient\":\"a@example.com\",\"queued_time\":"
                                       "\"2026-01-02T03:04:04.000006Z\","
                                       "\"queue_seconds\":1234.567,\"tls_verified\":false,\"tags\":"
                                       "{\"campaign\":\"spring\",\"empty\":\"\"}}\n");
    assert_line(&out);
}

static void test_final_only_where_true(void **state)
{
    (void)state;
    static const enum event_name finals[] = {EVENT_DELIVERED, EVENT_RELAYED,   EVENT_BOUNCED,
                                             EVENT_EXPIRED,   EVENT_CANCELLED, EVENT_SUPPRESSED};
    for (int n = EVENT_ACCEPTED; n <= EVENT_SPOOL_DAMAGED; n++) {
        DEFER(buf_done) struct buf f = BUF_MAX(64), out = BUF_MAX(65536);
        struct event e = event_of(1, (enum event_name)n, &f);
        bool is_final = false;
        for (size_t i = 0; i < sizeof finals / sizeof *finals; i++)
            is_final |= (int)finals[i] == n;
        event_line(&out, &e, "n");
        assert_line(&out);
        assert_int_equal(has(&out, "\"final\":true"), is_final);
        assert_int_equal(has(&out, "final"), is_final);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {{0, ":0.000,"},      {7, ":0.007,"},
                {999, ":0.999,"},    {1000, ":1.000,"},
                {-1500, ":-1.500,"}, {INT64_MAX, ":9223372036854775.807,"},
                {-1, ":-0.001,"},    {INT64_MIN, ":-9223372036854775.808,"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf f = BUF_MAX(64), out = BUF_MAX(65536);
        event_add_int(&f, EV_QUEUE_SECONDS, rows[i].ms);
        event_add_int(&f, EV_ATTEMPT, rows[i].ms);
        struct event e = event_of(UINT64_MAX, EVENT_DEFERRED, &f);
        event_line(&out, &e, "n");
        assert_line(&out);
        assert_true(has(&out, rows[i].text));
    }
}

/* What a peer or a user may say, and how it stands in the line. */
static void test_hostile_strings(void **state)
{
    (void)state;
    static const struct {
        struct slice in;
        const char *out;
    } rows[] = {
        {{(const uint8_t *)"plain", 5}, "\"plain\""},
        {{(const uint8_t *)"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
        {{(const uint8_t *)"x\r\n{\"v\":1}", 10}, "\"x\\u000d\\u000a{\\\"v\\\":1}\""},
        {{(const uint8_t *)"nul\0end", 7}, "\"nul\\u0000end\""},
        {{(const uint8_t *)"\x1b[31m\x7f", 6}, "\"\\u001b[31m\\u007f\""},
        {{(const uint8_t *)"\xc2\x85\xe2\x80\xa8\xe2\x80\xae", 8}, "\"\\u0085\\u2028\\u202e\""},
        {{(const uint8_t *)"gr\xc3\xbc\xc3\x9f \xf0\x9f\x93\xa7", 11},
         "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x93\xa7\""},
        {{(const uint8_t *)"\xff\xc3", 2}, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {{(const uint8_t *)"\xc0\xae\xed\xa0\x80", 5},
         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf f = BUF_MAX(256), out = BUF_MAX(65536);
        event_add_str(&f, EV_REASON, rows[i].in);
        struct event e = event_of(1, EVENT_CANCELLED, &f);
        event_line(&out, &e, "n");
        assert_line(&out);
        assert_true(has(&out, rows[i].out));
    }
}

static void test_response_is_cut_and_says_so(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 1023, 1024, 1025, 5000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        DEFER(buf_done) struct buf f = BUF_MAX(8192), out = BUF_MAX(65536), text = BUF_MAX(8192);
        for (size_t n = 0; n < sizes[i]; n++)
            buf_add_u8(&text, 'r');
        event_add_str(&f, EV_RESPONSE, buf_slice(&text));
        event_add_str(&f, EV_COMMAND, SLICE_LIT("rcpt"));
        struct event e = event_of(1, EVENT_BOUNCED, &f);
        event_line(&out, &e, "n");
        assert_line(&out);
        assert_int_equal(has(&out, ",\"response_truncated\":true,\"command\""), sizes[i] > 1024);
        buf_cut(&text, sizes[i] < 1024 ? sizes[i] : 1024);
        buf_add_str(&text, "\"");
        assert_true(has(&out, buf_str(&text)));
        buf_reset(&text);
        for (size_t n = 0; n < 1025; n++)
            buf_add_u8(&text, 'r');
        assert_false(has(&out, buf_str(&text)));
    }
}

/* A cut never leaves half a character. */
static void test_cut_between_characters(void **state)
{
    (void)state;
    for (size_t pad = 0; pad < 4; pad++) {
        DEFER(buf_done) struct buf f = BUF_MAX(8192), out = BUF_MAX(65536), text = BUF_MAX(8192);
        for (size_t n = 0; n < pad; n++)
            buf_add_u8(&text, 'x');
        while (text.n < 1100)
            buf_add_str(&text, "\xf0\x9f\x93\xa7");
        event_add_str(&f, EV_RESPONSE, buf_slice(&text));
        struct event e = event_of(1, EVENT_BOUNCED, &f);
        event_line(&out, &e, "n");
        assert_line(&out);
        assert_false(has(&out, "\xef\xbf\xbd"));
        assert_true(has(&out, "response_truncated"));
    }
}

/* Every text of the table at its worst, and all tags: still one valid line below the bound. */
static void test_worst_event_fits(void **state)
{
    (void)state;
    static const uint8_t worst[] = {0x01, 'A', '"', 0xff};
    static char node[4096];
    memset(node, 0x02, sizeof node - 1);
    for (size_t kind = 0; kind < sizeof worst; kind++) {
        DEFER(buf_done) struct buf f = BUF_MAX(1 << 20), out = BUF_MAX(65536), text = BUF_MAX(4096);
        memset(buf_reserve(&text, 3000), worst[kind], 3000);
        buf_commit(&text, 3000);
        for (unsigned tag = 1; tag < 128; tag++) {
            enum event_type type;
            if (!event_field_key((enum event_field)tag, &type))
                continue;
            if (type == EVT_STR)
                event_add_str(&f, (enum event_field)tag, buf_slice(&text));
            else if (type != EVT_MAP)
                event_add_int(&f, (enum event_field)tag, INT64_MIN);
        }
        for (unsigned i = 0; i < 40; i++) {
            DEFER(buf_done) struct buf pair = BUF_MAX(8192);
            buf_addf(&pair, "%u", i);
            buf_add(&pair, buf_slice(&text));
            buf_add_u8(&pair, '=');
            buf_add(&pair, buf_slice(&text));
            event_add_str(&f, EV_TAGS, buf_slice(&pair));
        }
        struct event e = event_of(UINT64_MAX, EVENT_BOUNCED, &f);
        event_line(&out, &e, node);
        assert_line(&out);
        assert_true(has(&out, "\"response_truncated\":true"));
        assert_true(has(&out, "\"15"));
        assert_false(has(&out, "\"16"));
    }
}

/* Just below and above the size at which a line is made narrow: nothing passes the bound. */
static void test_sizes_around_the_bound(void **state)
{
    (void)state;
    for (size_t n = 1; n < 4000; n += 7) {
        DEFER(buf_done) struct buf f = BUF_MAX(1 << 16), out = BUF_MAX(65536), text = BUF_MAX(8192);
        memset(buf_reserve(&text, n), 0x07, n);
        buf_commit(&text, n);
        event_add_str(&f, EV_MESSAGE_ID, buf_slice(&text));
        event_add_str(&f, EV_CLIENT_HELO, buf_slice(&text));
        event_add_str(&f, EV_REASON, buf_slice(&text));
        struct event e = event_of(1, EVENT_HELD, &f);
        event_line(&out, &e, "n");
        assert_line(&out);
    }
}

/* Any bytes as fields, and any prefix of good ones: a damaged event still gives a valid line. */
static void test_damaged_fields(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf f = BUF_MAX(4096);
    event_add_str(&f, EV_RECIPIENT, SLICE_LIT("a@example.com"));
    event_add_time(&f, EV_EXPIRES, (struct wall){INT64_MAX});
    event_add_str(&f, EV_TAGS, SLICE_LIT("=\"\\"));
    event_add_str(&f, EV_DSN_ID, SLICE_LIT("0123456789ABC"));
    for (size_t n = 0; n <= f.n; n++) {
        DEFER(buf_done) struct buf out = BUF_MAX(65536);
        struct event e = event_of(9, (enum event_name)(n % 40), &f);
        e.fields = slice_head(e.fields, n);
        event_line(&out, &e, "n");
        assert_line(&out);
    }
    for (size_t at = 0; at < f.n * 256; at++) {
        DEFER(buf_done) struct buf out = BUF_MAX(65536);
        uint8_t was = f.p[at / 256];
        f.p[at / 256] = (uint8_t)at;
        struct event e = event_of(9, EVENT_EXPIRED, &f);
        event_line(&out, &e, "n");
        assert_line(&out);
        f.p[at / 256] = was;
    }
}

static void test_service_lines(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf opened = BUF_MAX(65536), closed = BUF_MAX(65536);
    uint64_t seq = 0;
    line_opened(&opened, "00112233445566778899aabbccddeeff", "relay.example.com", when, 18);
    assert_line(&opened);
    assert_true(opened.n > 1024);
    assert_true(slice_find_slice(slice_head(buf_slice(&opened), 128), SLICE_LIT("aabbccddeeff")) <
                128);
    assert_true(line_seq(buf_slice(&opened), &seq));
    assert_int_equal(seq, 17);
    assert_true(
        slice_eq(line_file_id(buf_slice(&opened)), SLICE_LIT("00112233445566778899aabbccddeeff")));
    line_closed(&closed, "", "relay.example.com", when, 20);
    assert_line(&closed);
    assert_true(line_seq(buf_slice(&closed), &seq));
    assert_int_equal(seq, 19);
    assert_int_equal(line_file_id(buf_slice(&closed)).n, 0);
}

static void test_seq_of_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool ok;
        uint64_t seq;
    } rows[] = {
        {"{\"v\":1,\"seq\":1,\"id\":\"n-1\"}\n", true, 1},
        {"{\"v\":1,\"seq\":18446744073709551615,\"id\"", true, UINT64_MAX},
        {"{\"v\":1,\"seq\":18446744073709551616,\"id\"", false, 0},
        {"{\"v\":1,\"seq\":12", false, 0},
        {"{\"v\":1,\"seq\":,", false, 0},
        {"{\"v\":1,\"seq\":-1,", false, 0},
        {"{\"v\":2,\"seq\":1,", false, 0},
        {"{\"v\":1,\"event\":\"log_opened\",\"next_seq\":0,", false, 0},
        {"{\"v\":1,\"event\":\"log_opened\"}", false, 0},
        {"{\"v\":1,\"event\":\"log_closed\",\"next_seq\":8}", true, 7},
        {"\"next_seq\":8}", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t seq = 0;
        assert_int_equal(line_seq(slice_str(rows[i].line), &seq), rows[i].ok);
        assert_true(seq == rows[i].seq);
    }
}

/* The schema that is shipped and the table of fields say the same. */
static void test_schema(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf shipped = BUF_MAX(1 << 20);
    FILE *f = fopen("../contrib/schema/postwain-events.v1.json", "r");
    assert_non_null(f);
    for (int c; (c = fgetc(f)) != EOF;)
        buf_add_u8(&shipped, (uint8_t)c);
    fclose(f);
    static const char *const types[] = {
        [EVT_STR] = "string",  [EVT_INT] = "integer",  [EVT_SECONDS] = "number",
        [EVT_TIME] = "string", [EVT_BOOL] = "boolean", [EVT_MAP] = "object"};
    for (unsigned tag = 1; tag < 128; tag++) {
        enum event_type type;
        const char *key = event_field_key((enum event_field)tag, &type);
        DEFER(buf_done) struct buf want = BUF_MAX(256);
        if (!key)
            continue;
        buf_addf(&want, "\n    \"%s\": { \"type\": \"%s\", ", key, types[type]);
        if (type == EVT_TIME)
            buf_add_str(&want, "\"pattern\": \"^[0-9]{4}-");
        assert_true(has(&shipped, buf_str(&want)));
    }
    for (int n = EVENT_ACCEPTED; n <= EVENT_SPOOL_DAMAGED; n++) {
        DEFER(buf_done) struct buf want = BUF_MAX(256);
        buf_addf(&want, "\"%s\"", event_name_text((enum event_name)n));
        assert_true(has(&shipped, buf_str(&want)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_line),
        cmocka_unit_test(test_final_only_where_true),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_hostile_strings),
        cmocka_unit_test(test_response_is_cut_and_says_so),
        cmocka_unit_test(test_cut_between_characters),
        cmocka_unit_test(test_worst_event_fits),
        cmocka_unit_test(test_sizes_around_the_bound),
        cmocka_unit_test(test_damaged_fields),
        cmocka_unit_test(test_service_lines),
        cmocka_unit_test(test_seq_of_lines),
        cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
