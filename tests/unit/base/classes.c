/* An administrator's own rows of the classification: read with the place of each mistake, and asked
 * in their order. */
#include "relay/base/classes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct told {
    unsigned lines[16], n;
};

static void say(void *ctx, unsigned line, const char *problem)
{
    struct told *t = ctx;
    assert_true(t->n < 16 && strlen(problem) > 3);
    t->lines[t->n++] = line;
}

static void the_first_row_that_matches(void **state)
{
    static const char text[] = "# own rows\n"
                               "\n"
                               "rcpt 550 *.7.1 bad_mailbox   *account*disabled*\r\n"
                               "  any\t5xx *.7.*   policy:temporary *try tomorrow*\n"
                               "eod any any spam:permanent\n"
                               "any 450 any rate *\xc3\xbc* \n"
                               "ANY 4XX *.2.2 full:permanent";
    static const struct {
        enum phase phase;
        uint16_t code;
        struct enhanced e;
        const char *words;
        unsigned line; /* 0: none */
        enum verdict_class class;
        enum verdict_kind kind;
    } rows[] = {
        {PHASE_RCPT, 550, {5, 7, 1}, "Account is DISABLED", 3, CLASS_BAD_MAILBOX, VERDICT_NONE},
        {PHASE_RCPT, 550, {5, 7, 10}, "account disabled", 0, CLASS_NONE, VERDICT_NONE},
        {PHASE_MAIL, 550, {5, 7, 1}, "account disabled", 0, CLASS_NONE, VERDICT_NONE},
        {PHASE_MAIL, 554, {5, 7, 1}, "please try tomorrow", 4, CLASS_POLICY, VERDICT_DEFERRED},
        {PHASE_RCPT,
         550,
         {5, 7, 1},
         "account disabled, try tomorrow",
         3,
         CLASS_BAD_MAILBOX,
         VERDICT_NONE},
        {PHASE_RCPT, 450, {4, 7, 1}, "try tomorrow", 0, CLASS_NONE, VERDICT_NONE},
        {PHASE_EOD, 451, {4, 0, 0}, "", 5, CLASS_SPAM, VERDICT_FAILED},
        {PHASE_EOD, 550, {5, 7, 1}, "no", 5, CLASS_SPAM, VERDICT_FAILED},
        {PHASE_MAIL, 450, {4, 0, 0}, "zu fr\xc3\xbch", 6, CLASS_RATE, VERDICT_NONE},
        {PHASE_RCPT, 452, {4, 2, 2}, "", 7, CLASS_FULL, VERDICT_FAILED},
        {PHASE_RCPT, 552, {5, 2, 2}, "", 0, CLASS_NONE, VERDICT_NONE},
    };
    (void)state;
    struct told t = {0};
    struct classes *c = classes_parse(slice_str(text), say, &t);
    assert_non_null(c);
    assert_int_equal(c->n, 5);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct class_row *r =
            classes_find(c, rows[i].phase, rows[i].code, rows[i].e, slice_str(rows[i].words));
        assert_int_equal(r ? r->line : 0, rows[i].line);
        assert_int_equal(r ? r->class : CLASS_NONE, rows[i].class);
        assert_int_equal(r ? r->kind : VERDICT_NONE, rows[i].kind);
    }
    assert_null(classes_find(NULL, PHASE_RCPT, 550, (struct enhanced){5, 1, 1}, SLICE_NONE));
    free(c);
}

/* One mistake does not hide the next, and nothing is taken of a file with mistakes. */
static void mistakes_have_their_line(void **state)
{
    static const char *const bad[] = {
        "connect 550 any spam",    "rctp 550 any spam",
        "rcpt 250 any spam",       "rcpt 600 any spam",
        "rcpt 5x any spam",        "rcpt 3xx any spam",
        "rcpt 550 5.7.1 spam",     "rcpt 550 *.7 spam",
        "rcpt 550 *.x.1 spam",     "rcpt 550 any",
        "rcpt 550 any nonsense",   "rcpt 550 any spam:sometimes",
        "rcpt 550 any :temporary", "rcpt",
        "rcpt 550 *.1000.1 spam",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct told t = {0};
        char text[200];
        snprintf(text, sizeof text, "rcpt 550 any spam\n%s\n#\nany any any other\nfrob\n", bad[i]);
        assert_null(classes_parse(slice_str(text), say, &t));
        assert_int_equal(t.n, 2);
        assert_int_equal(t.lines[0], 2);
        assert_int_equal(t.lines[1], 5);
    }
    struct told t = {0};
    assert_null(classes_parse(SLICE_LIT("rcpt 550 any spam a\0b\n"), say, &t));
    assert_int_equal(t.n, 1);
}

static void bounds(void **state)
{
    (void)state;
    static char text[1002 * 20], words[300];
    struct told t = {0};
    size_t n = 0;
    for (unsigned i = 0; i < CLASSES_ROWS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "any any any other\n");
    struct classes *c = classes_parse(slice_of(text, n), say, &t);
    assert_non_null(c);
    assert_int_equal(c->n, CLASSES_ROWS_MAX);
    free(c);
    n += (size_t)snprintf(text + n, sizeof text - n, "any any any other\n");
    assert_null(classes_parse(slice_of(text, n), say, &t));
    assert_int_equal(t.n, 1);
    for (size_t length = CLASSES_WORDS_MAX; length <= CLASSES_WORDS_MAX + 1; length++) {
        n = (size_t)snprintf(words, sizeof words, "any any any other ");
        memset(words + n, 'w', length);
        c = classes_parse(slice_of(words, n + length), say, &t);
        assert_int_equal(c != NULL, length == CLASSES_WORDS_MAX);
        free(c);
    }
    c = classes_parse(SLICE_NONE, say, &t);
    assert_non_null(c);
    assert_int_equal(c->n, 0);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_row_that_matches),
        cmocka_unit_test(mistakes_have_their_line),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
