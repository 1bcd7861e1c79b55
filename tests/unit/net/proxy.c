/* PROXY headers. If this breaks, a client stands in the log, in Received and in the limits with an
 * address of its own choice, or a balancer's connections are refused. */
#include "relay/net/proxy.h"
#include "relay/base/buf.h"
#include "relay/base/crc32c.h"
#include "relay/net/addr.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define ENDS4                                                                                      \
    "\xc0\x00\x02\x01\xcb\x00\x71\x02\xdc\x04\x02\x4b" /* 192.0.2.1:56324 203.0.113.2:587 */
#define V6(last) "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0" last
#define ENDS6 V6("\x01") V6("\x02") "\xdc\x04\x02\x4b"
#define LIT(text) text, sizeof(text) - 1

/* An exact heap copy, so that the sanitizer sees one byte too many. */
static struct proxy_header parse(struct slice s)
{
    uint8_t *p = malloc(s.n ? s.n : 1);
    assert_non_null(p);
    memcpy(p, s.n ? s.p : p, s.n);
    struct proxy_header h = proxy_parse(slice_of(p, s.n));
    free(p);
    return h;
}

static void same(const struct proxy_header *a, const struct proxy_header *b)
{
    assert_int_equal(a->verdict, b->verdict);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->has_peer, b->has_peer);
    assert_memory_equal(&a->peer, &b->peer, sizeof a->peer);
    assert_memory_equal(&a->local, &b->local, sizeof a->local);
}

/* The law: a prefix is undecided or decided as the whole, and what stands behind changes nothing.
 */
static struct proxy_header parse_any_split(struct slice s)
{
    struct proxy_header whole = parse(s);
    for (size_t n = 0; n < s.n; n++) {
        struct proxy_header part = parse(slice_head(s, n));
        if (part.verdict != PROXY_MORE)
            same(&part, &whole);
        else
            assert_true(whole.verdict != PROXY_DONE || n < whole.n);
    }
    struct buf more = BUF_MAX(4096);
    buf_add(&more, s);
    buf_add_str(&more, "EHLO client.test\r\n");
    struct proxy_header longer = parse(buf_slice(&more));
    if (whole.verdict != PROXY_MORE)
        same(&longer, &whole);
    buf_done(&more);
    return whole;
}

static void assert_end(const struct sockaddr_storage *a, const char *text)
{
    char is[64];
    net_addr_port_text(a, is);
    assert_string_equal(is, text);
}

static void good(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *peer, *local; /* NULL: the real ends stay */
    } cases[] = {
        {LIT("PROXY TCP4 192.0.2.1 203.0.113.2 56324 587\r\n"), "192.0.2.1:56324",
         "203.0.113.2:587"},
        {LIT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535",
         "255.255.255.255:65535"},
        {LIT("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0:0", "0.0.0.0:0"},
        {LIT("PROXY TCP6 2001:DB8::1 2001:db8::2 56324 587\r\n"), "[2001:db8::1]:56324",
         "[2001:db8::2]:587"},
        {LIT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
             "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {LIT("PROXY UNKNOWN\r\n"), NULL, NULL},
        {LIT("PROXY UNKNOWN ffff::1 whatever it likes 7\r\n"), NULL, NULL},
        /* the longest line there is */
        {LIT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
             "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
         NULL, NULL},
        {LIT(SIGNATURE "\x21\x11\0\x0c" ENDS4), "192.0.2.1:56324", "203.0.113.2:587"},
        {LIT(SIGNATURE "\x21\x21\0\x24" ENDS6), "[2001:db8::1]:56324", "[2001:db8::2]:587"},
        /* LOCAL: with nothing, with addresses, with what is none */
        {LIT(SIGNATURE "\x20\x00\0\0"), NULL, NULL},
        {LIT(SIGNATURE "\x20\x11\0\x0c" ENDS4), NULL, NULL},
        {LIT(SIGNATURE "\x20\x11\0\x03xyz"), NULL, NULL},
        /* UNSPEC family or transport; UDP; Unix */
        {LIT(SIGNATURE "\x21\x00\0\x03xyz"), NULL, NULL},
        {LIT(SIGNATURE "\x21\x10\0\x0c" ENDS4), NULL, NULL},
        {LIT(SIGNATURE "\x21\x12\0\x0c" ENDS4), NULL, NULL},
        {LIT(SIGNATURE "\x21\x22\0\x24" ENDS6), NULL, NULL},
        /* vectors that we pass over: ALPN, an empty NOOP, one that is not assigned */
        {LIT(SIGNATURE "\x21\x11\0\x19" ENDS4 "\x01\0\x04smtp\x04\0\0\xee\0\0"), "192.0.2.1:56324",
         "203.0.113.2:587"},
        /* as HAProxy 2.6 makes it with crc32c */
        {LIT(SIGNATURE "\x21\x11\0\x13" ENDS4 "\x03\0\x04\xaa\xd3\x94\x73"), "192.0.2.1:56324",
         "203.0.113.2:587"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct proxy_header h = parse_any_split(slice_of(cases[i].bytes, cases[i].n));
        assert_int_equal(h.verdict, PROXY_DONE);
        assert_int_equal(h.n, cases[i].n);
        assert_int_equal(h.has_peer, cases[i].peer != NULL);
        if (!cases[i].peer)
            continue;
        assert_end(&h.peer, cases[i].peer);
        assert_end(&h.local, cases[i].local);
    }
}

static void wrong(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } cases[] = {
        {LIT("EHLO client.test\r\n"), "no PROXY header"},
        {LIT("\x16\x03\x01\x02\x00\x01\x00"), "no PROXY header"}, /* a ClientHello */
        {LIT("proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n"), "no PROXY header"},
        {LIT(" PROXY UNKNOWN\r\n"), "no PROXY header"},
        {LIT("PROXY\tUNKNOWN\r\n"), "no PROXY header"},
        {LIT("PROXY\r\n"), "no PROXY header"},
        {LIT("\r\n\r\n\r\n"), "no PROXY header"},
        {LIT("PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n"), "neither TCP4"},
        {LIT("PROXY UNKNOWNS\r\n"), "neither TCP4"},
        {LIT("PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n"), "neither TCP4"},
        {LIT("PROXY TCP4\r\n"), "neither TCP4"},
        {LIT("PROXY TCP4 \r\n"), "an address"},
        {LIT("PROXY TCP4 1.2.3.4  1 1\r\n"), "an address"},
        {LIT("PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n"), "an address"},
        {LIT("PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n"), "an address"},
        {LIT("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 1\r\n"), "an address"},
        {LIT("PROXY TCP4 ::1 ::1 1 1\r\n"), "an address"},
        {LIT("PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n"), "an address"},
        {LIT("PROXY TCP6 ::1%lo ::1 1 1\r\n"), "an address"},
        {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"), "a port"},
        {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"), "a port"},
        {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n"), "a port"},
        {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n"), "a port"},
        {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n"), "a port"},
        {LIT("PROXY UNKNOWN\n"), "CRLF"},
        {LIT("PROXY UNKNOWN\rx"), "CRLF"},
        {LIT("PROXY UNKNOWN\r\r\n"), "CRLF"},
        {LIT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
             "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655356\r\n"),
         "107 octets"},
        {LIT(SIGNATURE "\x11\x11\0\x0c"), "a version"},
        {LIT(SIGNATURE "\x22\x11\0\x0c"), "a command"},
        {LIT(SIGNATURE "\x21\x41\0\x0c"), "a family"},
        {LIT(SIGNATURE "\x21\x13\0\x0c"), "a family"},
        {LIT(SIGNATURE "\x21\x11\x02\x09"), "536 octets"},
        {LIT(SIGNATURE "\x21\x11\xff\xff"), "536 octets"},
        {LIT(SIGNATURE "\x20\x00\xff\xff"), "536 octets"},
        {LIT(SIGNATURE "\x21\x11\0\x0b\1\2\3\4\1\2\3\4\1\2\3"), "too short"},
        {LIT(SIGNATURE "\x21\x21\0\x0c" ENDS4), "too short"},
        {LIT(SIGNATURE "\x21\x31\0\x0c" ENDS4), "too short"},
        {LIT(SIGNATURE "\x21\x11\0\x0e" ENDS4 "\x04\0"), "a vector"},
        {LIT(SIGNATURE "\x21\x11\0\x10" ENDS4 "\x04\0\x02x"), "a vector"},
        {LIT(SIGNATURE "\x21\x11\0\x12" ENDS4 "\x03\0\x03xyz"), "4 octets"},
        {LIT(SIGNATURE "\x21\x11\0\x13" ENDS4 "\x03\0\x04\xaa\xd3\x94\x72"), "does not fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct proxy_header h = parse_any_split(slice_of(cases[i].bytes, cases[i].n));
        assert_int_equal(h.verdict, PROXY_BAD);
        assert_non_null(strstr(h.why, cases[i].why));
    }
}

/* The largest header that is taken, and a sum in the middle of it. */
static void at_the_limit(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(1000);
    buf_add(&b, SLICE_LIT(SIGNATURE "\x21\x11\x02\x08" ENDS4 "\x03\0\x04\0\0\0\0\x04\x01\xf2"));
    while (b.n < PROXY_HEADER_MAX)
        buf_add_u8(&b, (uint8_t)b.n);
    uint32_t sum = crc32c(0, b.p, b.n);
    for (unsigned i = 0; i < 4; i++)
        b.p[31 + i] = (uint8_t)(sum >> (24 - 8 * i));
    struct proxy_header h = parse_any_split(buf_slice(&b));
    assert_int_equal(h.verdict, PROXY_DONE);
    assert_end(&h.peer, "192.0.2.1:56324");
    for (size_t i = 0; i < b.n; i++) { /* no octet may be turned unseen, but the sum's own name */
        b.p[i] ^= 1;
        h = parse(buf_slice(&b));
        assert_true(h.verdict != PROXY_DONE || !h.has_peer || i == 28);
        b.p[i] ^= 1;
    }
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(wrong),
                                       cmocka_unit_test(at_the_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
