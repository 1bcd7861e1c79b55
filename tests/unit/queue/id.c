/* Queue ids: what breaks otherwise is that two messages have one id, or an id read out on the
 * telephone is not found. */
#include "queue/id.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define EPOCH INT64_C(1767225600)

static struct wall at_ms(int64_t ms)
{
    return (struct wall){EPOCH * WALL_SECOND + ms * 1000};
}

static void test_next(void **state)
{
    (void)state;
    static const struct {
        uint64_t last;
        int64_t ms;
        uint64_t want;
    } rows[] = {
        {0, 1, UINT64_C(1) << 16},                       /* the first of a millisecond */
        {UINT64_C(1) << 16, 1, (UINT64_C(1) << 16) + 1}, /* the second */
        {UINT64_C(5) << 16, 1, (UINT64_C(5) << 16) + 1}, /* the clock went back */
        {(UINT64_C(1) << 16) + 65535, 1,
         UINT64_C(2) << 16}, /* the counter is full: into the next one */
        {0, 0, 1},           /* never 0 */
        {0, -1000, 1},       /* a clock before 2026 */
        {77, -1000, 78},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(queue_id_next(rows[i].last, at_ms(rows[i].ms)), rows[i].want);
}

static void test_grows_whatever_the_clock_does(void **state)
{
    (void)state;
    uint64_t last = 0;
    _Atomic uint64_t shared = 0;
    for (int64_t i = 0; i < 200000; i++) {
        struct wall now = at_ms((i * 7919) % 1000 - 500);
        uint64_t id = queue_id_next(last, now);
        assert_true(id > last);
        assert_int_equal(queue_id_draw(&shared, now), id);
        last = id;
    }
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        uint64_t id;
        const char *text;
    } rows[] = {
        {0, "0000000000000"},          {1, "0000000000001"},
        {31, "000000000000Z"},         {32, "0000000000010"},
        {UINT64_MAX, "FZZZZZZZZZZZZ"}, {UINT64_C(0x0123456789abcdef), "028T5CY4TQKFF"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[QUEUE_ID_SIZE];
        uint64_t id = 99;
        queue_id_write(rows[i].id, text);
        assert_string_equal(text, rows[i].text);
        assert_true(queue_id_parse(slice_str(text), &id));
        assert_int_equal(id, rows[i].id);
    }
}

static void test_text_sorts_by_age(void **state)
{
    (void)state;
    char before[QUEUE_ID_SIZE] = "";
    uint64_t id = 0;
    for (int64_t i = 0; i < 1000; i++) {
        char text[QUEUE_ID_SIZE];
        id = queue_id_next(id, at_ms(i * i * 1000));
        queue_id_write(id, text);
        assert_true(strcmp(before, text) < 0);
        memcpy(before, text, sizeof before);
    }
}

static void test_parse(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0",
                                      "00000000000001",
                                      "000000000001",
                                      "G000000000000", /* more than 64 bits */
                                      "ZZZZZZZZZZZZZ",
                                      "000000000000U",
                                      "000000000000I",
                                      "000000000000L",
                                      "000000000000O",
                                      "000000000000 ",
                                      "-000000000001"};
    uint64_t id = 42;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(queue_id_parse(slice_str(bad[i]), &id));
    assert_int_equal(id, 42);
    assert_false(queue_id_parse(slice_of("000000000000\0", 13), &id));
    assert_true(queue_id_parse(SLICE_LIT("028t5cy4tqkff"), &id));
    assert_int_equal(id, UINT64_C(0x0123456789abcdef));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),  cmocka_unit_test(test_grows_whatever_the_clock_does),
        cmocka_unit_test(test_text),  cmocka_unit_test(test_text_sorts_by_age),
        cmocka_unit_test(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
