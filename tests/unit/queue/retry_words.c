/* What receivers say about when to come again: a number taken for a time makes mail late. */
#include "queue/retry.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
    const char *text;
    int64_t seconds;
} cases[] = {
    {"Greylisting in action, please come back in 00:04:57", 297},
    {"<bob@x.test>: Recipient address rejected: Greylisted for 300 seconds", 300},
    {"Greylisted, try again in 5 minutes", 300},
    {"Try again in 1 minute", 60},
    {"please RETRY after 10 min.", 600},
    {"Graylisted: retry in 60s", 60},
    {"wait 2 hours and retry", 7200},
    {"Delayed by policy, 1 day", 86400},
    {"too many connections, retry-after: 30 secs", 30},
    {"try again later. Come back in 15-minutes", 900},
    {"resources restricted; retry in 4h", 14400},
    /* the second lead has it */
    {"delayed; wait 90 seconds", 90},
    /* no time */
    {"", 0},
    {"Try again later", 0},
    {"Greylisted, see http://postgrey.schweikert.ch/help/example.com.html", 0},
    {"Too many connections from 192.0.2.1, try again later", 0},
    {"try again later (192.0.2.1)", 0},
    {"retry timeout exceeded", 0},
    {"try again, error 4711", 0},
    {"wait 5 somethings", 0},
    {"wait 5", 0},
    {"wait 1234567890 s", 0},
    {"come back in 00:04", 0},
    {"come back in 00:04:5", 0},
    {"300 seconds", 0},
    {"try again when the moon is full and the tide is high, that is in 5 minutes", 0},
};

static void times_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(retry_words(slice_str(cases[i].text)), cases[i].seconds);
}

/* Any cut, any octet: never negative, never out of the text. */
static void hostile_words(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 11);
    for (int round = 0; round < 20000; round++) {
        struct slice from = slice_str(cases[rng_below(&r, sizeof cases / sizeof *cases)].text);
        size_t n = (size_t)rng_below(&r, from.n + 1);
        uint8_t *copy = malloc(n + 1); /* exact: a read behind it is seen */
        assert_non_null(copy);
        for (size_t i = 0; i < n; i++)
            copy[i] = rng_below(&r, 30) ? from.p[i] : (uint8_t)rng_below(&r, 256);
        copy = realloc(copy, n ? n : 1);
        assert_true(retry_words(slice_of(copy, n)) >= 0);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(hostile_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
