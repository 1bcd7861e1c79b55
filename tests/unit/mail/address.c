/* Addresses: what a user may send to and from, and what never gets further than the command line.
 */
#include "relay/mail/address.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* An exact heap copy, so that the sanitizer sees one byte too many. */
static struct slice exact(const char *text, size_t n)
{
    uint8_t *p = malloc(n ? n : 1);
    assert_non_null(p);
    memcpy(p, text, n);
    return slice_of(p, n);
}

static void give_back(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

#define L63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static const struct {
    const char *mailbox, *local, *domain;
    bool literal;
} good[] = {
    {"a@b", "a", "b", false},
    {"user@example.com", "user", "example.com", false},
    {"User.Name+tag@Example.COM", "User.Name+tag", "Example.COM", false}, /* 20: case is kept */
    {"postmaster", "postmaster", "", false},                              /* checklist 19 */
    {"PostMaster", "PostMaster", "", false},
    {"postmaster@x.test", "postmaster", "x.test", false},
    {"\"john doe\"@x.test", "\"john doe\"", "x.test", false}, /* 20: quoting is kept */
    {"\"a@b\"@x.test", "\"a@b\"", "x.test", false},
    {"\"a>b\"@x.test", "\"a>b\"", "x.test", false},
    {"\"a\\\"b\\\\\"@x.test", "\"a\\\"b\\\\\"", "x.test", false},
    {"\"\"@x.test", "\"\"", "x.test", false},
    {"!#$%&'*+-/=?^_`{|}~@x.test", "!#$%&'*+-/=?^_`{|}~", "x.test", false},
    {"bounce-1=user=x.test@y.test", "bounce-1=user=x.test", "y.test", false},
    {"a@1-2.3com", "a", "1-2.3com", false},
    {"a@under_score.test", "a", "under_score.test", false},
    {"a@" L63 ".test", "a", L63 ".test", false},
    {L63 "x@t", L63 "x", "t", false},
    {"a@[127.0.0.1]", "a", "[127.0.0.1]", true},
    {"a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]", true},
    {"a@[ipv6:::ffff:1.2.3.4]", "a", "[ipv6:::ffff:1.2.3.4]", true},
};

#define BYTES(literal)                                                                             \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
static const struct {
    const char *p;
    size_t n;
} bad[] = {
    BYTES(""),
    BYTES("@"),
    BYTES("a"),
    BYTES("a@"),
    BYTES("@b"),
    BYTES("postmasterx"),
    BYTES("\"postmaster\""),
    BYTES(" a@b"),
    BYTES("a@b "),
    BYTES("<a@b>"),
    BYTES("a@b>"),
    BYTES("a@b,c@d"),
    BYTES("a@b@c"),
    BYTES(".a@b"),
    BYTES("a.@b"),
    BYTES("a..b@c"),
    BYTES("a b@c"),
    BYTES("a\"b\"@c"),
    BYTES("\"a\"b@c"),
    BYTES("\"a@c"),
    BYTES("\"a\\\"@c"),
    BYTES("\"a\\"),
    BYTES("a(comment)@c"),
    BYTES("a@b."),
    BYTES("a@.b"),
    BYTES("a@b..c"),
    BYTES("a@-b.test"),
    BYTES("a@b-.test"),
    BYTES("a@b c"),
    BYTES("a@b/c"),
    BYTES("a@1.2.3.4"),
    BYTES("a@example.123"),
    BYTES("a@" L63 "x.test"),
    BYTES(L63 "xx@t"),
    BYTES("a@[1.2.3]"),
    BYTES("a@[1.2.3.256]"),
    BYTES("a@[01.2.3.4]"),
    BYTES("a@[1.2.3.4"),
    BYTES("a@1.2.3.4]"),
    BYTES("a@[1.2.3.4]x"),
    BYTES("a@[]"),
    BYTES("a@[IPv6:]"),
    BYTES("a@[IPv6:1.2.3.4]"),
    BYTES("a@[IPv6:fe80::1%eth0]"),
    BYTES("a@[2001:db8::1]"),
    BYTES("a@[x400:c=us]"),
    BYTES("a@[1.2.3.4\0]"),
    /* 21: line ends and NUL */
    BYTES("a\r\n@b"),
    BYTES("a@b\r"),
    BYTES("a@b\n"),
    BYTES("a\0b@c"),
    BYTES("a@b\0"),
    BYTES("\"a\nb\"@c"),
    BYTES("\"a\\\rb\"@c"),
    BYTES("\"a\0b\"@c"),
    BYTES("\"a\tb\"@c"),
    BYTES("\"\x7f\"@c"),
    /* 22: what a shell would read, above all with an empty domain (OpenSMTPD 2020-7247) */
    BYTES(";id;"),
    BYTES("postmaster;id"),
    BYTES(";id;@b"),
    BYTES("$(id)@b"),
    BYTES("a<b@c"),
    BYTES("a\\b@c"),
    /* 25: 8-bit only with SMTPUTF8, which is not offered */
    BYTES("j\xc3\xb6rg@x.test"),
    BYTES("\"j\xc3\xb6rg\"@x.test"),
    BYTES("a@b\xc3\xbc"
          "cher.test"),
    BYTES("a@b\xff"),
};

static void good_mailboxes_are_split_and_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct slice s = exact(good[i].mailbox, strlen(good[i].mailbox));
        struct address a = {0};
        if (!address_parse(s, &a))
            fail_msg("refused: %s", good[i].mailbox);
        assert_true(slice_eq(a.local, slice_str(good[i].local)));
        assert_true(slice_eq(a.domain, slice_str(good[i].domain)));
        assert_int_equal(a.literal, good[i].literal);
        give_back(s);
    }
}

static void bad_mailboxes_are_refused_and_leave_the_output(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct slice s = exact(bad[i].p, bad[i].n);
        struct address a = {.local = SLICE_LIT("untouched")};
        if (address_parse(s, &a))
            fail_msg("row %zu accepted: %s", i, bad[i].p);
        assert_true(slice_eq(a.local, SLICE_LIT("untouched")));
        give_back(s);
    }
}

/* 20, 21, 25: for every byte at every place, an accepted address has only printable ASCII in it. */
static void no_byte_outside_printable_ascii_passes(void **state)
{
    (void)state;
    static const char *const seeds[] = {"ab@cd.ef", "\"a\\ b\"@c", "a@[1.2.3.4]", "postmaster"};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        for (size_t at = 0; at < strlen(seeds[i]); at++)
            for (unsigned byte = 0; byte < 256; byte++) {
                char text[32];
                size_t n = strlen(seeds[i]);
                memcpy(text, seeds[i], n);
                text[at] = (char)byte;
                struct address a;
                if (address_parse(slice_of(text, n), &a))
                    assert_in_range(byte, 32, 126);
            }
}

static const struct {
    const char *text, *path; /* path NULL: refused */
    size_t n;
} paths[] = {
    {"<>", "", 2},
    {"<> SIZE=1", "", 2},
    {"<a@b>", "a@b", 5},
    {"<a@b> BODY=8BITMIME", "a@b", 5},
    {"<a@b>>", "a@b", 5},
    {"<Postmaster>", "Postmaster", 12}, /* 19 */
    {"<\"a>b\"@c>", "\"a>b\"@c", 9},
    {"<\" \"@c>", "\" \"@c", 7},
    {"<@a:u@c>", "u@c", 8}, /* 20: source routes are stripped */
    {"<@a,@b.test:u@c>", "u@c", 16},
    {"<@[1.2.3.4]:u@c>", "u@c", 16},
    {"<@a:postmaster>", "postmaster", 15},
    {"<u@[IPv6:::1]>", "u@[IPv6:::1]", 14},
    {"", NULL, 0},
    {"<", NULL, 0},
    {"a@b", NULL, 0},
    {" <a@b>", NULL, 0},
    {"<a@b", NULL, 0},
    {"<a@b ", NULL, 0},
    {"< a@b>", NULL, 0},
    {"<a@b >", NULL, 0},
    {"< >", NULL, 0},
    {"<a>", NULL, 0},
    {"<<a@b>>", NULL, 0},
    {"<@a>", NULL, 0},
    {"<@a:>", NULL, 0},
    {"<@a,b:u@c>", NULL, 0},
    {"<@a,:u@c>", NULL, 0},
    {"<@a,@b u@c>", NULL, 0},
    {"<@:u@c>", NULL, 0},
    {"<a@b\r\n>", NULL, 0},
    {"<\"a@b>", NULL, 0},
};

static void paths_give_the_mailbox_and_what_was_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct slice s = exact(paths[i].text, strlen(paths[i].text));
        struct slice path = SLICE_LIT("untouched");
        size_t n = address_parse_path(s, ADDRESS_ASCII, &path);
        if (n != paths[i].n)
            fail_msg("%s: %zu instead of %zu", paths[i].text, n, paths[i].n);
        assert_true(slice_eq(path, slice_str(paths[i].path ? paths[i].path : "untouched")));
        give_back(s);
    }
}

/* Law: a mailbox is one exactly when "<mailbox>" is a path of that mailbox, source routes aside. */
static void mailbox_and_path_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0] + sizeof bad / sizeof bad[0]; i++) {
        size_t n_good = sizeof good / sizeof good[0];
        struct slice s = i < n_good ? slice_str(good[i].mailbox)
                                    : slice_of(bad[i - n_good].p, bad[i - n_good].n);
        if (s.n == 0)
            continue;
        char text[512];
        text[0] = '<';
        memcpy(text + 1, s.p, s.n);
        text[s.n + 1] = '>';
        struct slice path;
        size_t n = address_parse_path(slice_of(text, s.n + 2), ADDRESS_ASCII, &path);
        struct address a;
        assert_int_equal(n == s.n + 2, address_parse(s, &a));
    }
}

/* 20: local part 64, domain 255, path 256 octets with its brackets. */
static void lengths_end_where_the_rfc_ends_them(void **state)
{
    (void)state;
    char text[600];
    for (size_t total = 240; total < 300; total++) {
        size_t n = 0;
        text[n++] = '<';
        text[n++] = 'a';
        text[n++] = '@';
        for (size_t i = 0; n < total - 1; i++, n++)
            text[n] = i % 60 == 59 && n != total - 2 ? '.' : 'x';
        text[n++] = '>';
        struct slice path;
        struct address a;
        assert_int_equal(address_parse_path(slice_of(text, n), ADDRESS_ASCII, &path),
                         n <= 256 ? n : 0);
        assert_int_equal(address_parse(slice_of(text + 1, n - 2), &a), n <= 256);
        assert_int_equal(address_is_domain(slice_of(text + 3, n - 4)), n - 4 <= 255);
    }
}

static void the_domain_is_lowered_for_lookup_only(void **state)
{
    (void)state;
    static const struct {
        const char *mailbox, *domain;
    } rows[] = {{"A@EXAMPLE.Com", "example.com"},
                {"\"A@B\"@C.D", "c.d"},
                {"a@[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"},
                {"\xc3\x96@B\xc3\x9c.TEST", "b\xc3\x9c.test"},
                {"postmaster", ""},
                {"not a mailbox", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out = BUF_MAX(256);
        address_domain_lower(slice_str(rows[i].mailbox), &out);
        assert_false(out.overflow);
        assert_true(slice_eq(buf_slice(&out), slice_str(rows[i].domain)));
        buf_done(&out);
    }
}

static void host_names_for_ehlo_and_mx(void **state)
{
    (void)state;
    static const char *const yes[] = {
        "localhost", "mx1.example.com",      "[1.2.3.4]", "[IPv6:::1]", "WIN_HOST.corp",
        "3com.com",  "xn--bcher-kva.example"};
    static const char *const no[] = {"",        ".",   "a.",    "-a",   "a-",
                                     "1.2.3.4", "a b", "a\r\n", "a(b)", "[x]"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(address_is_domain(slice_str(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(address_is_domain(slice_str(no[i])));
}

/* Checklist 25, RFC 6531 section 3.3. */
static void utf8_only_where_it_was_asked_for(void **state)
{
    (void)state;
    static const struct {
        const char *mailbox;
        bool good;
    } rows[] = {
        {"j\xc3\xb6rg@b.test", true},
        {"\xc3\xb6@b\xc3\xbc"
         "cher.test",
         true},
        {"a@\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88", true},
        {"\xf0\x9f\x92\x8c@b.test", true},
        {"\"j\xc3\xb6 rg\"@b.test", true},
        {"a.\xc3\xb6@b.test", true},
        {"a..\xc3\xb6@b.test", false},
        {"\"\\\xc3\xb6\"@b.test", false},   /* a quoted pair is ASCII */
        {"\xc3@b.test", false},             /* cut */
        {"\xc0\xaf@b.test", false},         /* overlong "/" */
        {"\xed\xa0\x80@b.test", false},     /* a surrogate */
        {"\xf4\x90\x80\x80@b.test", false}, /* past the last character */
        {"\xff@b.test", false},
        {"a@b\xff.test", false},
        {"a\xc2\x85@b.test", false},     /* NEL, a line end to some */
        {"a\xe2\x80\xa8@b.test", false}, /* LINE SEPARATOR */
        {"\xe2\x80\xae"
         "a@b.test",
         false},                        /* turns the text around */
        {"a@b\xe3\x80\x82test", false}, /* a full stop, and none of ours */
        {"a@b.test\xef\xbc\x8e"
         "evil.test",
         false},
        {"a@b\xef\xbd\xa1test", false},
        {"a@-\xc3\xbc.test", false},
        {"a@[\xc3\xbc]", false},
        {"\xc3\xb6", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct slice s = exact(rows[i].mailbox, strlen(rows[i].mailbox)), path;
        struct address a;
        char text[100];
        snprintf(text, sizeof text, "<%s>", rows[i].mailbox);
        if (address_parse_form(s, ADDRESS_UTF8, &a) != rows[i].good)
            fail_msg("%s", rows[i].mailbox);
        assert_int_equal(address_parse_path(slice_str(text), ADDRESS_UTF8, &path),
                         rows[i].good ? s.n + 2 : 0);
        assert_false(address_parse(s, &a));
        assert_int_equal(address_parse_path(slice_str(text), ADDRESS_ASCII, &path), 0);
        assert_false(address_is_ascii(s));
        give_back(s);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct address a;
        assert_true(address_parse_form(slice_str(good[i].mailbox), ADDRESS_UTF8, &a));
        assert_true(slice_eq(a.local, slice_str(good[i].local)));
        assert_true(address_is_ascii(slice_str(good[i].mailbox)));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address a;
        if (address_is_ascii(slice_of(bad[i].p, bad[i].n)))
            assert_false(address_parse_form(slice_of(bad[i].p, bad[i].n), ADDRESS_UTF8, &a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_mailboxes_are_split_and_kept),
        cmocka_unit_test(bad_mailboxes_are_refused_and_leave_the_output),
        cmocka_unit_test(no_byte_outside_printable_ascii_passes),
        cmocka_unit_test(paths_give_the_mailbox_and_what_was_read),
        cmocka_unit_test(mailbox_and_path_agree),
        cmocka_unit_test(lengths_end_where_the_rfc_ends_them),
        cmocka_unit_test(the_domain_is_lowered_for_lookup_only),
        cmocka_unit_test(host_names_for_ehlo_and_mx),
        cmocka_unit_test(utf8_only_where_it_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
