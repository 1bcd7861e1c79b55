/* Addresses as numbers. If this breaks, a listener listens elsewhere, a trusted network is not the
 * one written down, or mail is carried into the operator's own network (checklist 47). */
#include "relay/net/addr.h"
#include "relay/net/net.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct sockaddr_storage ip(const char *text)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a;
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        a.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
        a.ss_family = AF_INET6;
    }
    return a;
}

/* An exact heap copy, so that the sanitizer sees one byte too many. */
static struct slice exact(const char *text)
{
    size_t n = strlen(text);
    uint8_t *p = malloc(n ? n : 1);
    memcpy(p, text, n);
    return slice_of(p, n);
}

static void give_back(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

static void networks(void **state)
{
    (void)state;
    static const struct {
        const char *net, *address;
        bool inside;
    } cases[] = {
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/8", "10.9.9.9", true}, /* host bits do not count */
        {"192.0.2.0/25", "192.0.2.127", true},
        {"192.0.2.0/25", "192.0.2.128", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"2001:db8::1", "2001:db8::1", true},
        {"2001:db8::1", "2001:db8::2", false},
        /* IPv4-mapped is IPv4, on either side */
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
        {"::ffff:10.0.0.0/104", "10.1.1.1", true},
        {"::ffff:10.0.0.0/104", "::ffff:11.1.1.1", false},
        {"::ffff:0.0.0.0/96", "192.0.2.1", true},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice s = exact(cases[i].net);
        struct sockaddr_storage a = ip(cases[i].address);
        struct net_cidr c;
        assert_true(net_cidr_parse(s, &c));
        assert_int_equal(net_cidr_has(&c, (struct sockaddr *)&a), cases[i].inside);
        give_back(s);
    }
    struct sockaddr_storage none = {.ss_family = AF_UNIX};
    struct net_cidr all;
    assert_true(net_cidr_parse(SLICE_LIT("0.0.0.0/0"), &all));
    assert_false(net_cidr_has(&all, (struct sockaddr *)&none));
}

static void bad_networks(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8/8",
                                      "10.0.0.0/8 ",
                                      " 10.0.0.0/8",
                                      "10.0.0/8",
                                      "10.0.0.0.0",
                                      "256.0.0.1",
                                      "010.0.0.1x",
                                      "::/129",
                                      "::1%lo",
                                      "[::1]",
                                      ":::/0",
                                      "localhost",
                                      "0x7f.1",
                                      "1:2:3:4:5:6:7:8:9",
                                      "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
                                      "10.0.0.0/18446744073709551624"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct slice s = exact(bad[i]);
        struct net_cidr c = {.bits = 77};
        assert_false(net_cidr_parse(s, &c));
        assert_int_equal(c.bits, 77); /* untouched */
        give_back(s);
    }
    struct net_cidr c;
    assert_false(net_cidr_parse(slice_of("10.0.0.0\0/8", 11), &c));
    assert_false(net_cidr_parse(slice_of("10.0.0.1\0", 9), &c));
}

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *address, *text;
    } cases[] = {{"192.0.2.1", "192.0.2.1"},
                 {"2001:DB8:0::1", "2001:db8::1"},
                 {"::ffff:192.0.2.1", "192.0.2.1"},
                 {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sockaddr_storage a = ip(cases[i].address);
        char text[46];
        net_addr_text((struct sockaddr *)&a, text);
        assert_string_equal(text, cases[i].text);
    }
    struct sockaddr_storage none = {.ss_family = AF_UNIX};
    char text[46];
    net_addr_text((struct sockaddr *)&none, text);
    assert_string_equal(text, "?");
}

static void listen_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *ip; /* NULL: refused */
        unsigned port;
    } cases[] = {
        {"0.0.0.0:587", "0.0.0.0", 587},
        {"127.0.0.1:0", "127.0.0.1", 0},
        {"127.0.0.1:65535", "127.0.0.1", 65535},
        {"[::]:465", "::", 465},
        {"[2001:db8::1]:25", "2001:db8::1", 25},
        {"127.0.0.1:65536", NULL, 0},
        {"127.0.0.1", NULL, 0},
        {"127.0.0.1:", NULL, 0},
        {":25", NULL, 0},
        {"", NULL, 0},
        {"[::]", NULL, 0},
        {"[::]465", NULL, 0},
        {"[::", NULL, 0},
        {"[]:25", NULL, 0},
        {"::1:25", NULL, 0},
        {"[127.0.0.1]:25", NULL, 0},
        {"localhost:25", NULL, 0},
        {"127.0.0.1:25:25", NULL, 0},
        {"127.0.0.1:+25", NULL, 0},
        {"127.0.0.1: 25", NULL, 0},
        {"[fe80::1%lo]:25", NULL, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice s = exact(cases[i].text);
        struct sockaddr_storage a = {.ss_family = AF_UNIX};
        struct err e = {0};
        int code = net_parse_address(s, &a, &e);
        assert_int_equal(code, cases[i].ip ? 0 : -EINVAL);
        if (cases[i].ip) {
            char text[46], whole[64];
            net_addr_text((struct sockaddr *)&a, text);
            assert_string_equal(text, cases[i].ip);
            net_addr_port_text(&a, whole);
            assert_string_equal(whole, cases[i].text);
            assert_int_equal(ntohs(((struct sockaddr_in *)&a)->sin_port), cases[i].port);
        } else {
            assert_int_equal(a.ss_family, AF_UNIX);
            assert_non_null(strstr(e.text, cases[i].text));
        }
        give_back(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks),
        cmocka_unit_test(bad_networks),
        cmocka_unit_test(texts),
        cmocka_unit_test(listen_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
