/* What a person reads: sizes, times, events, and that nothing of a peer's reaches the terminal raw.
 */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void test_numbers(void **state)
{
    (void)state;
    char text[SHOW_SIZE];
    static const struct {
        int64_t n;
        const char *text;
    } seconds[] = {{-5, "0s"},       {0, "0s"},        {59, "59s"},      {60, "1m"},
                   {61, "1m 1s"},    {3600, "1h"},     {5400, "1h 30m"}, {86400, "1d"},
                   {90061, "1d 1h"}, {8640000, "100d"}},
      bytes[] = {{0, "0B"},      {1023, "1023B"},   {1024, "1.0K"},     {1536, "1.5K"},
                 {10240, "10K"}, {52428800, "50M"}, {1LL << 40, "1.0T"}};
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++)
        assert_string_equal(show_seconds(text, seconds[i].n), seconds[i].text);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        assert_string_equal(show_bytes(text, bytes[i].n), bytes[i].text);
}

/* The times of the log are read back to the second they were written for. */
static void test_times(void **state)
{
    (void)state;
    static const int64_t seconds[] = {0, 951782400, 951868799, 1709164800, 4102444799, 1234567890};
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        char text[WALL_RFC3339_SIZE];
        struct wall t = {seconds[i] * WALL_SECOND + 5}, back;
        wall_rfc3339(t, text);
        assert_true(show_parse_time(text, &back));
        assert_int_equal(back.us, seconds[i] * WALL_SECOND);
    }
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-01-02",
                                      "2026-01-02T03:04:05",
                                      "2026-13-02T03:04:05Z",
                                      "2026-01-02 03:04:05Z",
                                      "x"};
    struct wall t;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(show_parse_time(bad[i], &t));
}

static void expect_line(const char *event, bool color, const char *line)
{
    struct buf out = BUF_MAX(65536);
    json_t *e = json_loads(event, 0, NULL);
    assert_non_null(e);
    assert_true(log_line(&out, e, color));
    assert_string_equal(buf_str(&out), line);
    json_decref(e);
    buf_done(&out);
}

static void test_log_lines(void **state)
{
    (void)state;
    expect_line(
        "{\"time\":\"2026-01-02T03:04:05.123456Z\",\"event\":\"delivered\",\"queue_id\":\"Q1\","
        "\"sender\":\"a@b\",\"recipient\":\"c@d\",\"mx_host\":\"mx.d\",\"smtp_code\":250,"
        "\"enhanced_status\":\"2.0.0\",\"response\":\"Ok\"}",
        false, "2026-01-02 03:04:05  delivered    Q1  a@b -> c@d by mx.d: 250 2.0.0 Ok");
    expect_line(
        "{\"time\":\"2026-01-02T03:04:05.1Z\",\"event\":\"deferred\",\"queue_id\":\"Q1\","
        "\"recipient\":\"c@d\",\"error\":\"connect_timeout\","
        "\"next_attempt\":\"2026-01-02T03:09:05.1Z\"}",
        true,
        "2026-01-02 03:04:05  \033[33mdeferred   \033[0m  Q1  <> -> c@d: connect_timeout (next try "
        "2026-01-02 03:09:05)");
    /* Why, beside the cause; an operator's reason is what he gave for what he did. */
    expect_line(
        "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"deferred\",\"queue_id\":\"Q1\","
        "\"recipient\":\"c@d\",\"enhanced_status\":\"4.7.5\",\"error\":\"tls_verify\","
        "\"reason\":\"not one: it has expired\",\"next_attempt\":\"2026-01-02T03:09:05Z\"}",
        false,
        "2026-01-02 03:04:05  deferred     Q1  <> -> c@d: 4.7.5 tls_verify: not one: it has "
        "expired (next try 2026-01-02 03:09:05)");
    expect_line(
        "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"bounced\",\"queue_id\":\"Q1\","
        "\"recipient\":\"c@d\",\"error\":\"cancelled\",\"actor\":\"root\",\"reason\":\"moved\"}",
        false,
        "2026-01-02 03:04:05  bounced      Q1  <> -> c@d: cancelled actor root reason: moved");
    expect_line("{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"log_opened\"}", false,
                "2026-01-02 03:04:05  log_opened ");
    expect_line("{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"dsn_queued\",\"queue_id\":\"Q1\","
                "\"sender\":\"a@b\",\"dsn_kind\":\"failed\"}",
                false, "2026-01-02 03:04:05  dsn_queued   Q1  a@b is told: failed");
    /* checklist, promise 36: escape sequences in a reply */
    expect_line("{\"time\":\"\\u001b[2J\",\"event\":\"x\\n\",\"queue_id\":\"\\u001b]0;\","
                "\"response\":\"a\\u001b[31m\\r\\nb\\u0085\"}",
                false, "?[2J  x             ]0;: a [31m  b ");
    json_t *e = json_object();
    struct buf out = BUF_MAX(100);
    assert_false(log_line(&out, e, false));
    json_decref(e);
    buf_done(&out);
}

static int run_nothing(const struct cli_verb *v, int argc, char **argv)
{
    (void)v, (void)argc, (void)argv;
    return 0;
}

static const struct cli_option all[] = {
    FILTER_OPTIONS, {"event", 0, true}, {"yes", 'y', false}, {0}};
static const struct cli_verb verb = {"queue list", "", run_nothing, all, ""};

static int parse(struct cli_args *a, const char *line, char *copy)
{
    static char *words[64];
    int n = 0;
    memcpy(copy, line, strlen(line) + 1);
    for (char *p = copy; *p;) {
        words[n++] = p;
        while (*p && *p != ' ')
            p++;
        if (*p)
            *p++ = 0;
    }
    words[n] = NULL;
    return args_parse(a, &verb, n, words);
}

static void test_filters(void **state)
{
    (void)state;
    static const struct {
        const char *line, *json;
    } good[] = {
        {"v", "{}"},
        {"v A B --id C", "{\"id\":[\"C\",\"A\",\"B\"]}"},
        {"v --to *@x.test --from=a@b --user u",
         "{\"from\":\"a@b\",\"to\":\"*@x.test\",\"user\":\"u\"}"},
        {"v --state held --older-than 2h --newer-than 90s",
         "{\"newer_than_s\":90,\"older_than_s\":7200,\"state\":\"held\"}"},
        {"v --attempts-ge 3 --size-ge 10M --code 4xx",
         "{\"attempts_ge\":3,\"code\":\"4xx\",\"size_ge\":10485760}"},
        {"v --code 450 --reply full --destination d --site s -y -c f",
         "{\"code\":\"450\",\"destination\":\"d\",\"reply\":\"full\",\"site\":\"s\"}"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct cli_args a;
        char copy[500];
        int rc;
        assert_int_equal(parse(&a, good[i].line, copy), ARGS_GO_ON);
        json_t *filter = filter_of(&a, &rc);
        assert_non_null(filter);
        char *text = json_dumps(filter, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(text, good[i].json);
        free(text);
        json_decref(filter);
    }
    static const char *const bad[] = {"v --state lost",
                                      "v --older-than 5",
                                      "v --size-ge x",
                                      "v --attempts-ge -1",
                                      "v --code 4x",
                                      "v --code 199",
                                      "v --code 6xx",
                                      "v --to=",
                                      "v --id=",
                                      "v --to \xff",
                                      "v \xff",
                                      "v --ids-from /none",
                                      "v --ids-from /dev/null",
                                      "v --ids-from /"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cli_args a;
        char copy[500];
        int rc = 0;
        assert_int_equal(parse(&a, bad[i], copy), ARGS_GO_ON);
        assert_null(filter_of(&a, &rc));
        assert_int_equal(rc, strstr(bad[i], "ids-from") ? CLI_NOTHING : CLI_USAGE);
    }
    static const char *const wrong[] = {"v --bogus", "v --to", "v -x", "v --yes=1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct cli_args a;
        char copy[500];
        assert_int_equal(parse(&a, wrong[i], copy), CLI_USAGE);
    }
}

static void test_log_filters(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool hit;
    } cases[] = {{"v", true},
                 {"v --event bounced", true},
                 {"v --event accepted", false},
                 {"v --event accepted --event bounced", true},
                 {"v --to *@EXAMPLE.com", true},
                 {"v --to *@example.org", false},
                 {"v --to *@example.com --user x", false},
                 {"v --id q1", true},
                 {"v --id Q2", false}};
    json_t *e = json_loads(
        "{\"event\":\"bounced\",\"queue_id\":\"Q1\",\"recipient\":\"a@example.com\"}", 0, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cli_args a;
        char copy[500];
        assert_int_equal(parse(&a, cases[i].line, copy), ARGS_GO_ON);
        int rc = CLI_DONE;
        struct log_filter *f = log_filter_new(&a, &rc);
        assert_non_null(f);
        assert_int_equal(log_matches(f, e), cases[i].hit);
        log_filter_free(f);
    }
    json_decref(e);
}

static char *printed_words(unsigned width, unsigned rows, const char *words)
{
    static const struct table_column columns[] = {
        {"ID", false, false}, {"N", true, false}, {"LONG", false, true}, {"END", false, true}};
    static char text[1 << 20];
    FILE *f = tmpfile(), *old = stdout;
    MUST(f);
    stdout = f;
    struct table *t = table_new(columns, 4, width);
    for (unsigned i = 0; i < rows; i++) {
        const char *const cells[] = {"q", "7", words, "x\033[0m\n"};
        table_row(t, cells);
    }
    assert_int_equal(table_rows(t), rows);
    table_free(t);
    stdout = old;
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static char *printed_table(unsigned width, unsigned rows)
{
    return printed_words(width, rows, "gr\303\274\303\237e und noch viel mehr Worte");
}

/* Characters that take two columns, or none: what stands behind them stands where it should, and a
 * row is no wider than the terminal. */
static void test_wide_characters(void **state)
{
    (void)state;
#define JAPAN "\xe6\x97\xa5\xe6\x9c\xac" /* two characters, four columns */
#define ACCENT "e\xcc\x81"               /* two characters, one column */
    static const struct {
        const char *text;
        unsigned columns;
    } rows[] = {{"", 0},          {"abc", 3},  {"gr\xc3\xbc\xc3\x9f", 4},
                {JAPAN, 4},       {ACCENT, 1}, {"\xf0\x9f\x93\xa8", 2},
                {JAPAN ACCENT, 5}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(term_columns(rows[i].text), rows[i].columns);
    unsigned taken;
    static const struct {
        unsigned room, octets, taken;
    } fits[] = {{0, 0, 0}, {1, 0, 0}, {2, 3, 2},  {3, 3, 2},
                {4, 6, 4}, {5, 9, 5}, {6, 10, 6}, {9, 10, 6}};
    for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
        assert_int_equal(term_fit(SLICE_LIT(JAPAN ACCENT "x"), fits[i].room, &taken),
                         fits[i].octets);
        assert_int_equal(taken, fits[i].taken);
    }
    assert_string_equal(printed_words(0, 1, JAPAN), "ID  N  LONG  END\n"
                                                    "q   7  " JAPAN "  x [0m \n");
    /* LONG has 12 columns: 11 before the mark, into which five characters fit. */
    assert_string_equal(printed_words(27, 1, JAPAN JAPAN JAPAN JAPAN),
                        "ID  N  LONG          END\n"
                        "q   7  " JAPAN JAPAN "\xe6\x97\xa5"
                        "…   x [0m \n");
}

/* A row fits the terminal; without one nothing is cut; no rows, no head. */
static void test_tables(void **state)
{
    (void)state;
    assert_string_equal(printed_table(0, 0), "");
    assert_string_equal(printed_table(0, 1), "ID  N  LONG                            END\n"
                                             "q   7  gr\xc3\xbc\xc3\x9f"
                                             "e und noch viel mehr Worte  x [0m \n");
    assert_string_equal(printed_table(27, 1), "ID  N  LONG          END\n"
                                              "q   7  gr\xc3\xbc\xc3\x9f"
                                              "e und n…  x [0m \n");
    unsigned lines = 0;
    for (const char *p = printed_table(80, 1000); *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 1001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),         cmocka_unit_test(test_times),
        cmocka_unit_test(test_log_lines),       cmocka_unit_test(test_filters),
        cmocka_unit_test(test_log_filters),     cmocka_unit_test(test_tables),
        cmocka_unit_test(test_wide_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
