/* Rows of listings read in place. If this breaks, the table shows another queue than the daemon
 * has. The oracle is the JSON library. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Reads a copy of just the size, so that a byte too far is found. */
static bool parse(const char *text, size_t n, char **ret_copy, struct row *ret)
{
    *ret_copy = malloc(n ? n : 1);
    MUST(*ret_copy);
    memcpy(*ret_copy, text, n);
    return row_parse(*ret_copy, n, ret);
}

/* What the library reads as a flat object is read the same here; what it does not read is refused.
 */
static void compare(const char *text, size_t n)
{
    struct row row;
    char *copy;
    const char *key;
    json_t *want = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL), *v;
    bool ok = parse(text, n, &copy, &row);
    if (!json_is_object(want)) {
        json_decref(want);
        free(copy);
        return; /* laxer is fine: the daemon's words are JSON */
    }
    if (!ok)
        fail_msg("refused: %.*s", (int)n, text);
    assert_int_equal(row.n, json_object_size(want));
    json_object_foreach(want, key, v)
    {
        const char *got = row_text(&row, key);
        if (json_is_string(v)) {
            assert_string_equal(got, json_string_value(v));
        } else if (json_is_number(v)) {
            assert_true(strtod(got, NULL) == json_number_value(v));
        } else {
            assert_string_equal(got, json_is_true(v)    ? "true"
                                     : json_is_false(v) ? "false"
                                                        : "null");
        }
    }
    assert_string_equal(row_text(&row, "no such key"), "");
    /* Whatever was asked for before. */
    for (size_t i = row.n; i-- > 0;)
        assert_ptr_equal(row_text(&row, row.at[i].key), row.at[i].value);
    json_decref(want);
    free(copy);
}

static const char *const flat[] = {
    "{}",
    " { } ",
    "{\"a\":\"b\"}",
    "{\"queue_id\":\"0000000000001\",\"rcpt\":2,\"sender\":\"\",\"size\":1234,\"state\":\"held\"}",
    "{ \"a\" : 1 , \"b\" : true ,\"c\":null, \"d\" : \"x\" }",
    "{\"a\":\"quote \\\" back \\\\ slash \\/ \\b\\f\\n\\r\\t end\"}",
    "{\"a\":\"\\u0041\\u00e4\\u20ac\\ud83d\\ude00\"}",
    "{\"a\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\",\"\xc3\xa4\":-17}",
    "{\"a\":\"},{\",\"b\":\":\"}",
};

static void test_like_the_library(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof flat / sizeof *flat; i++)
        compare(flat[i], strlen(flat[i]));
}

/* A row that is cut, or of which one byte is another, never makes us read or write beyond it. */
static void test_broken(void **state)
{
    (void)state;
    struct row row;
    char *copy, text[256];
    for (size_t i = 0; i < sizeof flat / sizeof *flat; i++) {
        size_t n = strlen(flat[i]);
        for (size_t cut = 0; cut + 1 < n; cut++) {
            assert_false(parse(flat[i], cut, &copy, &row));
            free(copy);
        }
        for (size_t at = 0; at < n; at++)
            for (unsigned c = 1; c < 256; c++) { /* the library passes over some NULs */
                memcpy(text, flat[i], n);
                text[at] = (char)c;
                compare(text, n);
            }
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"a\":{}}",          "{\"a\":[1]}", "{\"a\":\"\\u0000\"}", "{\"a\":\"\\ud83d\"}", "[1]",
        "{\"a\":1} {\"b\":1}", "{\"a\":}",    "{\"a\":\"\\x\"}",
    };
    struct row row;
    char *copy;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_false(parse(rows[i], strlen(rows[i]), &copy, &row));
        free(copy);
    }
    struct buf many = BUF_MAX(65536);
    for (unsigned i = 0; i <= ROW_FIELDS_MAX; i++)
        buf_addf(&many, "%c\"k%u\":%u", i ? ',' : '{', i, i);
    buf_add_u8(&many, '}');
    assert_false(parse((const char *)many.p, many.n, &copy, &row));
    free(copy);
    buf_done(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_the_library),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
