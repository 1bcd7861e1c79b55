/* 30: the addresses of From decide whether a user may say what he says. What two readers could read
 * in two ways must not pass. */
#include "relay/mail/address_list.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* addresses: joined by '|', " BAD" behind them when the rest is no list. */
static const struct {
    const char *what, *value, *addresses;
} rows[] = {
    {"bare", " ann@a.test", "ann@a.test"},
    {"angle", " <ann@a.test>", "ann@a.test"},
    {"a name", " Ann <ann@a.test>", "ann@a.test"},
    {"words with dots", " Ann B. C. <ann@a.test>", "ann@a.test"},
    {"a dot first", " .Ann. <ann@a.test>", "ann@a.test"},
    {"a quoted name", " \"Doe, <x@y.test> \\\" Ann\" <ann@a.test>", "ann@a.test"},
    {"an encoded word", " =?utf-8?Q?J=C3=B6rg_=3Cx=40y.test=3E?= <ann@a.test>", "ann@a.test"},
    {"two words and a quoted one", " A \"b\" c <ann@a.test>", "ann@a.test"},
    {"no blank", "Ann<ann@a.test>", "ann@a.test"},
    {"case is kept", " Ann@A.Test", "Ann@A.Test"},
    {"a comment", " ann@a.test (Ann <x@y.test>)", "ann@a.test"},
    {"comments within", " (a)ann(b)@(c)a(d).(e)test(f)", "ann@a.test"},
    {"a comment in a comment", " ((\\)x@y.test)z) ann@a.test", "ann@a.test"},
    {"blanks within", " ann @ a . test", "ann@a.test"},
    {"folds", "\r\n Ann\r\n\t<ann@a.test\r\n >", "ann@a.test"},
    {"a folded empty line", "\r\n \r\n ann@a.test", "ann@a.test"},
    {"quoted local part", " \"a b\"@a.test", "\"a b\"@a.test"},
    {"quoted at sign", " \"x@y.test\"@a.test", "\"x@y.test\"@a.test"},
    {"quoted and folded", " \"a\r\n b\"@a.test", "\"a b\"@a.test"},
    {"words of a local part", " a.\"b\".c@a.test", "a.\"b\".c@a.test"},
    {"literals", " a@[192.0.2.1], <b@[IPv6:::1]>", "a@[192.0.2.1]|b@[IPv6:::1]"},
    {"many", " a@a.test, B <b@a.test>,c@a.test", "a@a.test|b@a.test|c@a.test"},
    {"empty elements", " ,, a@a.test ,(x), b@a.test,", "a@a.test|b@a.test"},
    {"a group", " us: a@a.test, B <b@a.test>;", "a@a.test|b@a.test"},
    {"an empty group", " undisclosed-recipients:;", ""},
    {"groups and others", " \"q\" x: a@a.test;, y: ; , b@a.test", "a@a.test|b@a.test"},
    {"a route", " <@x.test,@y.test:ann@a.test>", "ann@a.test"},
    {"a route with empty elements", " <,@x.test, ,@y.test : ann@a.test>", "ann@a.test"},
    {"nothing", "", ""},
    {"blanks", " \t\r\n ", ""},
    {"a comment only", " (nobody)", ""},
    {"8-bit in a name", " J\xf6rg <ann@a.test>", "ann@a.test"},
    {"8-bit in a quoted name", " \"J\xc3\xb6rg\" <ann@a.test>", "ann@a.test"},
    {"8-bit in a comment", " ann@a.test (J\xf6rg)", "ann@a.test"},
    {"an underscore, a plus, a slash", " a_b+c/d@a_b.test", "a_b+c/d@a_b.test"},
    /* What is no list. */
    {"a name only", " Ann", " BAD"},
    {"no domain", " ann@", " BAD"},
    {"no local part", " @a.test", " BAD"},
    {"empty angle", " <>", " BAD"},
    {"two addresses, no comma", " a@a.test b@b.test", "a@a.test BAD"},
    {"an address as a name", " a@a.test <b@b.test>", "a@a.test BAD"},
    {"two angles", " <a@a.test> <b@b.test>", "a@a.test BAD"},
    {"an angle in an angle", " <<a@a.test>>", " BAD"},
    {"angle not closed", " <a@a.test", " BAD"},
    {"angle closed twice", " <a@a.test>>", "a@a.test BAD"},
    {"a list in an angle", " <a@a.test,b@b.test>", " BAD"},
    {"two at signs", " a@b@a.test", "a@b BAD"},
    {"a semicolon", " a@a.test; b@b.test", "a@a.test BAD"},
    {"group not closed", " us: a@a.test", "a@a.test BAD"},
    {"group in a group", " us: them: a@a.test;;", " BAD"},
    {"group without a name", " : a@a.test;", " BAD"},
    {"nothing behind a group but a comma", " us:; a@a.test", " BAD"},
    {"an unquoted comma", " Shop, Inc. <a@a.test>", " BAD"},
    {"quote not closed", " \"Ann <a@a.test>", " BAD"},
    {"comment not closed", " a@a.test (Ann", "a@a.test BAD"},
    {"comment closed twice", " a@a.test (Ann))", "a@a.test BAD"},
    {"dots", " a..b@a.test", " BAD"},
    {"a dot first in the local part", " .a@a.test", " BAD"},
    {"a dot last in the local part", " a.@a.test", " BAD"},
    {"a dot last in the domain", " a@a.test.", " BAD"},
    {"blank in the local part", " a b@a.test", " BAD"},
    {"a quoted domain", " a@\"a.test\"", " BAD"},
    {"an empty literal", " a@[]", " BAD"},
    {"a comment in a literal", " a@[1.2(x).3.4]", " BAD"},
    {"a literal and more", " a@[1.2.3.4].test", "a@[1.2.3.4] BAD"},
    {"a route of nothing", " <,:a@a.test>", " BAD"},
    {"a backslash", " a\\b@a.test", " BAD"},
    {"a tab in a quoted local part", " \"a\tb\"@a.test", " BAD"},
    {"an escape", " Ann\x1b[31m <a@a.test>", " BAD"},
    {"a bare LF", " a@a.test,\n b@b.test", "a@a.test BAD"},
    {"a bare CR", " a@a.test,\r b@b.test", "a@a.test BAD"},
    {"8-bit in a local part", " \xc3\xb6@a.test", " BAD"},
    {"8-bit in a domain", " a@\xc3\xb6.test", " BAD"},
};

static void read_list(struct slice value, bool utf8, struct buf *ret)
{
    struct buf one = BUF_MAX(ADDRESS_LIST_OCTETS);
    struct address_list l = address_list_of(value, utf8);
    enum address_list_found found;
    while ((found = address_list_next(&l, &one)) == ADDRESS_LIST_ONE) {
        if (ret->n)
            buf_add_u8(ret, '|');
        buf_add(ret, buf_slice(&one));
    }
    if (found == ADDRESS_LIST_BAD)
        buf_add_str(ret, " BAD");
    assert_int_equal(address_list_next(&l, &one), found); /* it stays so */
    buf_done(&one);
}

static void assert_list(const char *what, struct slice value, bool utf8, const char *want)
{
    struct buf got = BUF_MAX(4096);
    /* An exact copy, so that the sanitizer sees one byte too many. */
    uint8_t *copy = malloc(value.n + !value.n);
    assert_non_null(copy);
    memcpy(copy, value.p, value.n);
    read_list(slice_of(copy, value.n), utf8, &got);
    if (!slice_eq(buf_slice(&got), slice_str(want)))
        fail_msg("%s: \"%s\" instead of \"%s\"", what, buf_str(&got), want);
    free(copy);
    buf_done(&got);
}

static void lists_are_read_as_tabled(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_list(rows[i].what, slice_str(rows[i].value), false, rows[i].addresses);
}

static void characters_beyond_ascii_need_smtputf8(void **state)
{
    (void)state;
    assert_list("local", SLICE_LIT("J <j\xc3\xb6rg@a.test>"), true, "j\xc3\xb6rg@a.test");
    assert_list("domain", SLICE_LIT("a@\xc3\xb6.test"), true, "a@\xc3\xb6.test");
    assert_list("no UTF-8", SLICE_LIT("\xf6@a.test"), true, " BAD");
    assert_list("text that runs backwards", SLICE_LIT("a\xe2\x80\xae@a.test"), true, " BAD");
    assert_list("C1", SLICE_LIT("a\xc2\x85@a.test"), true, " BAD");
}

/* A NUL ends a C string: other readers stop there. */
static void a_nul_is_nowhere(void **state)
{
    (void)state;
    assert_list("in a name", SLICE_LIT("A\0b <a@a.test>"), false, " BAD");
    assert_list("behind", SLICE_LIT("a@a.test\0, b@b.test"), false, "a@a.test BAD");
    assert_list("quoted", SLICE_LIT("\"\\\0\" <a@a.test>"), false, " BAD");
    assert_list("in a comment", SLICE_LIT("(\0) a@a.test"), false, " BAD");
}

static void what_is_long_is_bounded(void **state)
{
    (void)state;
    static char text[200000];
    struct buf got = BUF_MAX(1 << 20);
    memset(text, 'a', 997);
    memcpy(text + 997, "@a.test", 8);
    assert_list("longer than a line", slice_str(text), false, " BAD");
    memset(text, 'n', 5000);
    memcpy(text + 5000, "<a@a.test>", 11);
    assert_list("a long name", slice_str(text), false, "a@a.test");
    memset(text, '(', sizeof text - 1);
    assert_list("a deep comment", slice_str(text), false, " BAD");
    for (size_t i = 0; i + 4 < sizeof text; i += 4)
        memcpy(text + i, "a@b,", 4);
    read_list(slice_of(text, sizeof text - 4), false, &got);
    assert_int_equal(got.n, sizeof text - 5);
    buf_done(&got);
}

/* Programs of this machine write "root": each such name is found, and where "@host" belongs. */
static const struct {
    const char *value, *with_host; /* NULL: no list */
} bare_rows[] = {
    {" root", " root@H"},
    {"root (Cron Daemon)", "root@H (Cron Daemon)"},
    {" root , ann@a.test,bob", " root@H , ann@a.test,bob@H"},
    {" Root <root>, \"x, y\" < a.b (c) >", " Root <root@H>, \"x, y\" < a.b@H (c) >"},
    {" us: root, bob; , ann", " us: root@H, bob@H; , ann@H"},
    {" us: root;", " us: root@H;"},
    {" \"a b\"", " \"a b\"@H"},
    {" a . b\r\n (c)", " a . b@H\r\n (c)"},
    {" ann@a.test, <b@b.test>, undisclosed:;", " ann@a.test, <b@b.test>, undisclosed:;"},
    {" John Doe", NULL},
    {" root;", NULL},
    {" us: root", NULL},
    {" <>", NULL},
    {" a.", NULL},
    {" root bob@a.test", NULL},
};

static void a_name_without_a_domain_is_one_where_asked_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bare_rows / sizeof *bare_rows; i++) {
        struct buf out = BUF_MAX(1000), one = BUF_MAX(ADDRESS_LIST_OCTETS);
        struct slice value = slice_str(bare_rows[i].value);
        struct address_list l = address_list_of(value, false);
        enum address_list_found found;
        size_t at = 0;
        l.bare = true;
        while ((found = address_list_next(&l, &one)) == ADDRESS_LIST_ONE) {
            assert_int_equal(!l.bare_end, slice_find(buf_slice(&one), '@') < one.n);
            const size_t end = l.bare_end ? (size_t)(l.bare_end - value.p) : at;
            buf_add(&out, slice_skip(slice_head(value, end), at));
            buf_add_str(&out, l.bare_end ? "@H" : "");
            at = end;
        }
        buf_add(&out, slice_skip(value, at));
        assert_int_equal(found, bare_rows[i].with_host ? ADDRESS_LIST_END : ADDRESS_LIST_BAD);
        if (bare_rows[i].with_host)
            assert_string_equal(buf_str(&out), bare_rows[i].with_host);
        buf_done(&out);
        buf_done(&one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read_as_tabled),
        cmocka_unit_test(characters_beyond_ascii_need_smtputf8),
        cmocka_unit_test(a_nul_is_nowhere),
        cmocka_unit_test(what_is_long_is_bounded),
        cmocka_unit_test(a_name_without_a_domain_is_one_where_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
