/* A bounce names its recipient by its address alone: what whoever cleans a list reads out of it. */
#include "relay/mail/verp.h"
#include "relay/base/defer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define L32 "abcdefghijklmnopqrstuvwxyz012345"

static void paths(void **state)
{
    (void)state;
    static const struct {
        const char *sender, *recipient, *delimiters, *want; /* NULL: it stays */
    } rows[] = {
        {"news@example.com", "bob@example.net", "+=", "news+bob=example.net@example.com"},
        {"news@example.com", "bob@example.net", "-=", "news-bob=example.net@example.com"},
        {"News@Example.com", "Bob+tag@Example.net", "+=", "News+Bob+tag=Example.net@Example.com"},
        {"n@[192.0.2.1]", "bob@example.net", "+=", NULL},
        {"news@example.com", "bob@[192.0.2.1]", "+=", NULL},
        {"", "bob@example.net", "+=", NULL},
        {"\"a b\"@example.com", "bob@example.net", "+=", NULL},
        {"news@example.com", "\"a b\"@example.net", "+=", NULL},
        {"news@example.com", "postmaster", "+=", NULL},
        {"news@example.com", "b\xc3\xb6@example.net", "+=", NULL},
        {"n@m\xc3\xbc.test", "bob@example.net", "+=", NULL},
        /* 64 octets before the @, and one more */
        {"n@x.test", L32 "0123456789012345678901@d.test",
         "+=", "n+" L32 "0123456789012345678901=d.test@x.test"},
        {"nn@x.test", L32 "01234567890123456789012@d.test", "+=", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf out = BUF_MAX(400);
        const bool done = verp_write(&out, slice_str(rows[i].sender), slice_str(rows[i].recipient),
                                     rows[i].delimiters);
        assert_int_equal(done, rows[i].want != NULL);
        assert_string_equal(buf_str(&out), rows[i].want ? rows[i].want : "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(paths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
