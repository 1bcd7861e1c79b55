/* postwain.conf(5) says what options.def says. After a change there: UPDATE=1 unit_conf_manual */
#include "relay/base/must.h"
#include "relay/conf/options.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MANUAL "../contrib/man/postwain.conf.5"
#define BEGIN ".\\\" from relay/conf/options.def: UPDATE=1 unit_conf_manual\n"
#define END ".\\\" end of the keys\n"

static void read_manual(struct buf *text, struct slice *before, struct slice *keys,
                        struct slice *after)
{
    FILE *f = fopen(MANUAL, "r");
    MUST(f);
    uint8_t *room = buf_reserve(text, 1 << 19);
    buf_commit(text, fread(room, 1, 1 << 19, f));
    fclose(f);
    struct slice all = buf_slice(text);
    size_t begin = slice_find_slice(all, SLICE_LIT(BEGIN)) + strlen(BEGIN);
    size_t end = slice_find_slice(all, SLICE_LIT(END));
    MUST(begin < all.n && begin <= end && end < all.n);
    *before = slice_head(all, begin);
    *keys = slice_of(all.p + begin, end - begin);
    *after = slice_skip(all, end);
}

static void test_manual_has_the_keys(void **state)
{
    (void)state;
    struct buf text = BUF_MAX(1 << 20), keys = BUF_MAX(1 << 20);
    struct slice before, now, after;
    read_manual(&text, &before, &now, &after);
    options_mdoc(&keys);
    assert_false(keys.overflow);
    if (getenv("UPDATE")) {
        FILE *f = fopen(MANUAL, "w");
        MUST(f);
        fprintf(f, "%.*s%.*s%.*s", SLICE_ARG(before), SLICE_ARG(buf_slice(&keys)),
                SLICE_ARG(after));
        fclose(f);
    } else if (!slice_eq(now, buf_slice(&keys))) {
        fail_msg("%s is older than options.def: UPDATE=1 unit_conf_manual", MANUAL);
    }
    buf_done(&text);
    buf_done(&keys);
}

/* The commented example shows every section, and every key that it shows is known. */
static void test_every_section_in_the_example(void **state)
{
    (void)state;
    struct buf text = BUF_MAX(1 << 20);
    FILE *f = fopen("../contrib/examples/postwain.conf", "r");
    assert_non_null(f);
    uint8_t *room = buf_reserve(&text, 1 << 19);
    buf_commit(&text, fread(room, 1, 1 << 19, f));
    fclose(f);
    for (enum conf_section s = S_SPOOL; s < S_COUNT; s++) {
        struct buf word = BUF_MAX(100);
        buf_addf(&word, "%s %s", section_name(s), section_has_title(s) ? "\"" : "{");
        if (slice_find_slice(buf_slice(&text), buf_slice(&word)) == text.n)
            fail_msg("the example has no section %s", section_name(s));
        buf_done(&word);
    }
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_manual_has_the_keys),
                                       cmocka_unit_test(test_every_section_in_the_example)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
