/* Answers as bytes: what a name server, or someone who pretends to be one, may send. If one fails,
 * a forged or damaged packet crashes the relay, bounces mail (a "no" that nobody said), or leads it
 * elsewhere. Promise 27. */
#include "dns/answer.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define QUESTION "\7example\4test\0"
enum {
    AT_NAME = 12,
    T_A = 1,
    T_NS = 2,
    T_CNAME = 5,
    T_SOA = 6,
    T_PTR = 12,
    T_MX = 15,
    T_AAAA = 28
};
enum {
    F_QR = 0x8000,
    F_AA = 0x400,
    F_TC = 0x200,
    F_RD = 0x100,
    F_RA = 0x80,
    F_AD = 0x20,
    REPLY = F_QR | F_RD | F_RA
};

static void u16(struct buf *b, unsigned v)
{
    buf_add_u8(b, (uint8_t)(v >> 8));
    buf_add_u8(b, (uint8_t)v);
}

static void begin(struct buf *b, unsigned flags, enum dns_type type, unsigned answers,
                  unsigned authority)
{
    buf_reset(b);
    u16(b, 0x1234);
    u16(b, flags);
    u16(b, 1);
    u16(b, answers);
    u16(b, authority);
    u16(b, 0);
    buf_add(b, SLICE_LIT(QUESTION));
    u16(b, (unsigned)type);
    u16(b, 1);
}

/* owner: wire form; NULL = the question's name, compressed. */
#define RR(b, owner, type, ttl, rdata) add_rr(b, SLICE_LIT(owner), type, 1, ttl, SLICE_LIT(rdata))
#define SELF "\300\14"
static void add_rr(struct buf *b, struct slice owner, unsigned type, unsigned class, uint32_t ttl,
                   struct slice rdata)
{
    buf_add(b, owner);
    u16(b, type);
    u16(b, class);
    u16(b, ttl >> 16);
    u16(b, ttl & 0xffff);
    u16(b, (unsigned)rdata.n);
    buf_add(b, rdata);
}

static struct dns_answer *read_copy(struct slice packet, enum dns_type type)
{
    uint8_t *exact =
        malloc(packet.n ? packet.n : 1); /* so that the sanitizer sees one byte too many */
    assert_non_null(exact);
    if (packet.n)
        memcpy(exact, packet.p, packet.n);
    struct dns_answer *a =
        dns_wire_read(slice_of(exact, packet.n), SLICE_LIT("example.test"), type);
    free(exact);
    assert_non_null(a);
    assert_true((a->status == DNS_OK) == (a->n > 0));
    assert_true(a->type == type);
    return a;
}

static void expect(const struct buf *b, enum dns_type type, enum dns_status status, uint32_t ttl_s,
                   size_t n)
{
    struct dns_answer *a = read_copy(buf_slice(b), type);
    assert_string_equal(dns_status_name(a->status), dns_status_name(status));
    assert_int_equal(a->n, n);
    assert_int_equal(a->ttl_s, ttl_s);
    dns_answer_unref(a);
}

#define SOA "\2ns\300\14\4root\300\14\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\74" /* minimum 60 */

static void test_addresses(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    begin(&b, REPLY, DNS_A, 3, 0);
    RR(&b, SELF, T_A, 300, "\31\0\0\1");
    RR(&b, "\7EXAMPLE\4Test\0", T_A, 200, "\31\0\0\2");
    RR(&b, "\5other\4test\0", T_A, 10,
       "\31\0\0\3"); /* another name's: not ours, and its TTL neither */
    struct dns_answer *a = read_copy(buf_slice(&b), DNS_A);
    assert_int_equal(a->status, DNS_OK);
    assert_int_equal(a->n, 2);
    assert_int_equal(a->ttl_s, 200);
    assert_int_equal(a->ip[1].family, AF_INET);
    assert_memory_equal(a->ip[1].bytes, "\31\0\0\2", 4);
    assert_string_equal(a->canonical, "example.test");
    assert_false(a->secure);
    dns_answer_unref(a);

    begin(&b, REPLY | F_AD, DNS_AAAA, 1, 0);
    RR(&b, SELF, T_AAAA, 300, "\46\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1");
    a = read_copy(buf_slice(&b), DNS_AAAA);
    assert_int_equal(a->n, 1);
    assert_int_equal(a->ip[0].family, AF_INET6);
    assert_true(a->secure);
    dns_answer_unref(a);
}

static void test_mx(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    begin(&b, REPLY, DNS_MX, 5, 0);
    RR(&b, SELF, T_MX, 300, "\0\24\3Mx2\300\14");
    RR(&b, SELF, T_MX, 300, "\0\12\3mx1\300\14");
    RR(&b, SELF, T_MX, 300, "\0\12\3mx1\300\14"); /* the same again */
    RR(&b, SELF, T_MX, 300, "\0\5\0");
    RR(&b, SELF, T_MX, 300, "\0\36\4a\0.b\0");
    struct dns_answer *a = read_copy(buf_slice(&b), DNS_MX);
    assert_int_equal(a->n, 4);
    assert_string_equal(a->mx[0].target, "");
    assert_string_equal(a->mx[1].target, "mx1.example.test");
    assert_int_equal(a->mx[1].preference, 10);
    assert_string_equal(a->mx[2].target, "mx2.example.test");
    assert_string_equal(a->mx[3].target, "a\\000\\.b"); /* no host name, but there it is (40) */
    dns_answer_unref(a);
}

/* 42: the best hundred of a thousand, and no more memory than that. */
static void test_mx_cap(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    begin(&b, REPLY, DNS_MX, 1000, 0);
    for (unsigned i = 1000; i-- > 0;) {
        uint8_t rdata[] = {(uint8_t)(i >> 8), (uint8_t)i, 1, 'x', 0xc0, AT_NAME};
        add_rr(&b, SLICE_LIT(SELF), T_MX, 1, 60, slice_of(rdata, sizeof rdata));
    }
    struct dns_answer *a = read_copy(buf_slice(&b), DNS_MX);
    assert_int_equal(a->n, DNS_MX_MAX);
    for (size_t i = 0; i < a->n; i++)
        assert_int_equal(a->mx[i].preference, i);
    dns_answer_unref(a);

    begin(&b, REPLY, DNS_A, 1000, 0);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t rdata[] = {25, 0, (uint8_t)(i >> 8), (uint8_t)i};
        add_rr(&b, SLICE_LIT(SELF), T_A, 1, 60, slice_of(rdata, sizeof rdata));
    }
    expect(&b, DNS_A, DNS_OK, 60, DNS_IP_MAX);
}

static void test_aliases(void **state) /* 43 */
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    /* in any order, the smallest TTL of the chain */
    begin(&b, REPLY, DNS_A, 3, 0);
    RR(&b, "\1b\4test\0", T_A, 300, "\31\0\0\1");
    RR(&b, "\1a\4test\0", T_CNAME, 30, "\1B\4test\0");
    RR(&b, SELF, T_CNAME, 200, "\1a\4test\0");
    struct dns_answer *a = read_copy(buf_slice(&b), DNS_A);
    assert_int_equal(a->status, DNS_OK);
    assert_int_equal(a->ttl_s, 30);
    assert_string_equal(a->canonical, "b.test");
    dns_answer_unref(a);

    begin(&b, REPLY, DNS_A, 1, 0); /* to itself */
    RR(&b, SELF, T_CNAME, 200, SELF);
    expect(&b, DNS_A, DNS_SERVFAIL, 0, 0);
    begin(&b, REPLY, DNS_A, 2, 0); /* in a circle */
    RR(&b, SELF, T_CNAME, 200, "\1a\300\14");
    RR(&b, "\1a\300\14", T_CNAME, 200, SELF);
    expect(&b, DNS_A, DNS_SERVFAIL, 0, 0);
    for (unsigned links = 8; links <= 9; links++) { /* eight links are followed, nine are not */
        begin(&b, REPLY, DNS_A, links + 1, 0);
        for (unsigned i = 0; i < links; i++) {
            uint8_t from[] = {1, (uint8_t)('a' + i), 0}, to[] = {1, (uint8_t)('b' + i), 0};
            add_rr(&b, i ? slice_of(from, 3) : SLICE_LIT(SELF), T_CNAME, 1, 50, slice_of(to, 3));
        }
        uint8_t last[] = {1, (uint8_t)('a' + links), 0};
        add_rr(&b, slice_of(last, 3), T_A, 1, 60, SLICE_LIT("\31\0\0\1"));
        expect(&b, DNS_A, links == 8 ? DNS_OK : DNS_SERVFAIL, links == 8 ? 50 : 0, links == 8);
    }
    /* the address of the alias itself, and of a stranger, do not count */
    begin(&b, REPLY, DNS_A, 2, 0);
    RR(&b, SELF, T_CNAME, 200, "\1a\4test\0");
    RR(&b, "\1z\4test\0", T_A, 300, "\31\0\0\1");
    expect(&b, DNS_A, DNS_NODATA, 0, 0);
}

/* Three kinds of "no", and trouble, which is none of them. */
static void test_no(void **state) /* 35 */
{
    (void)state;
    static const struct {
        unsigned flags;
        const char *records; /* s: SOA, n: NS, c: CNAME, a: A, each in its section */
        enum dns_status status;
        uint32_t ttl_s;
    } rows[] = {
        {REPLY, "s", DNS_NODATA, 60},
        {REPLY, "", DNS_NODATA, 0}, /* without SOA: believed, not kept */
        {REPLY | 3, "s", DNS_NXDOMAIN, 60},
        {REPLY | 3, "", DNS_NXDOMAIN, 0},
        {REPLY | 3, "cs", DNS_NXDOMAIN, 60},
        {REPLY, "cs", DNS_NODATA, 60},
        {REPLY, "c", DNS_NODATA, 0},         /* a resolver has followed it */
        {F_QR | F_AA, "c", DNS_SERVFAIL, 0}, /* an authority has not */
        {F_QR | F_AA, "", DNS_NODATA, 0},
        {F_QR | F_AA, "n", DNS_NODATA, 0},
        {F_QR, "n", DNS_SERVFAIL, 0}, /* a referral says nothing about the name */
        {REPLY, "n", DNS_SERVFAIL, 0},
        {REPLY | 3, "a", DNS_SERVFAIL, 0}, /* does not exist, and here it is */
        {REPLY | 1, "s", DNS_SERVFAIL, 0},
        {REPLY | 2, "", DNS_SERVFAIL, 0},
        {REPLY | 2, "s", DNS_SERVFAIL, 0},
        {REPLY | 4, "", DNS_SERVFAIL, 0},
        {REPLY | 5, "", DNS_SERVFAIL, 0},
        {REPLY | 2, "a", DNS_SERVFAIL, 0},
        {REPLY | F_TC, "a", DNS_SERVFAIL, 0},
        {REPLY | F_TC, "", DNS_SERVFAIL, 0},
        {F_RD | F_RA, "a", DNS_SERVFAIL, 0},    /* a question, not an answer */
        {REPLY | 0x2800, "a", DNS_SERVFAIL, 0}, /* an update */
    };
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *r = rows[i].records;
        unsigned answers = (strchr(r, 'c') ? 1U : 0U) + (strchr(r, 'a') ? 1U : 0U);
        begin(&b, rows[i].flags, DNS_A, answers, (unsigned)strlen(r) - answers);
        for (; *r; r++) {
            if (*r == 'a')
                RR(&b, SELF, T_A, 300, "\31\0\0\1");
            if (*r == 'c')
                RR(&b, SELF, T_CNAME, 300, "\1a\4test\0");
            if (*r == 's')
                RR(&b, SELF, T_SOA, 300, SOA);
            if (*r == 'n')
                RR(&b, SELF, T_NS, 300, "\2ns\300\14");
        }
        expect(&b, DNS_A, rows[i].status, rows[i].ttl_s, 0);
    }
}

static void test_negative_ttl(void **state) /* 48, RFC 2308 */
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    begin(&b, REPLY | 3, DNS_MX, 0, 1);
    RR(&b, SELF, T_SOA, 20, SOA); /* the record's own TTL is smaller */
    expect(&b, DNS_MX, DNS_NXDOMAIN, 20, 0);
    begin(&b, REPLY | 3, DNS_MX, 0, 1);
    RR(&b, SELF, T_SOA, 86400,
       "\2ns\300\14\4root\300\14\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\1\121\200");
    expect(&b, DNS_MX, DNS_NXDOMAIN, 900, 0);
    begin(&b, REPLY, DNS_A, 1, 0); /* RFC 2181: the top bit set means zero */
    RR(&b, SELF, T_A, 0x80000001, "\31\0\0\1");
    expect(&b, DNS_A, DNS_OK, 0, 1);
}

static void test_other_questions(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    begin(&b, REPLY, DNS_MX, 1, 0); /* another type asked */
    RR(&b, SELF, T_A, 300, "\31\0\0\1");
    expect(&b, DNS_A, DNS_SERVFAIL, 0, 0);
    begin(&b, REPLY, DNS_A, 1, 0); /* another name asked */
    RR(&b, SELF, T_A, 300, "\31\0\0\1");
    b.p[13] = 'f';
    expect(&b, DNS_A, DNS_SERVFAIL, 0, 0);
    b.p[13] = 'E'; /* 0x20: letter case is the asker's */
    expect(&b, DNS_A, DNS_OK, 300, 1);
    b.p[5] = 0; /* no question at all */
    expect(&b, DNS_A, DNS_SERVFAIL, 0, 0);
    begin(&b, REPLY, DNS_A, 1, 0); /* another class */
    add_rr(&b, SLICE_LIT(SELF), T_A, 3, 300, SLICE_LIT("\31\0\0\1"));
    expect(&b, DNS_A, DNS_NODATA, 0, 0);
    begin(&b, REPLY, DNS_A, 1, 0); /* another type answered */
    RR(&b, SELF, T_AAAA, 300, "\46\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1");
    expect(&b, DNS_A, DNS_NODATA, 0, 0);
}

#define BAD(type, rdata)                                                                           \
    {                                                                                              \
        type, rdata, sizeof(rdata) - 1                                                             \
    }
static const struct {
    enum dns_type type;
    const char *rdata;
    size_t n;
} bad_rdata[] = {
    BAD(DNS_A, ""),
    BAD(DNS_A, "\31\0\0"),
    BAD(DNS_A, "\31\0\0\1\1"),
    BAD(DNS_AAAA, "\31\0\0\1"),
    BAD(DNS_AAAA, "\46\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1"),
    BAD(DNS_MX, ""),
    BAD(DNS_MX, "\0"),
    BAD(DNS_MX, "\0\12"),
    BAD(DNS_MX, "\0\12\3mx"),       /* label past the end */
    BAD(DNS_MX, "\0\12\2mx"),       /* no end */
    BAD(DNS_MX, "\0\12\2mx\0x"),    /* bytes behind the name */
    BAD(DNS_MX, "\0\12\300"),       /* half a pointer */
    BAD(DNS_MX, "\0\12\377\377"),   /* a pointer past the message */
    BAD(DNS_MX, "\0\12\300\54"),    /* a pointer to itself: 0x2c is where this name stands */
    BAD(DNS_MX, "\0\12\1a\300\54"), /* in a circle */
    BAD(DNS_MX, "\0\12\100abc\0"),  /* label type 01 */
    BAD(DNS_MX, "\0\12\200abc\0"),  /* label type 10 */
};

/* Wrong lengths and looping names: nothing of such a message is believed. */
static void test_bad_rdata(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    for (size_t i = 0; i < sizeof bad_rdata / sizeof bad_rdata[0]; i++) {
        begin(&b, REPLY, bad_rdata[i].type, 1, 0);
        add_rr(&b, SLICE_LIT(SELF), (unsigned)bad_rdata[i].type, 1, 300,
               slice_of(bad_rdata[i].rdata, bad_rdata[i].n));
        expect(&b, bad_rdata[i].type, DNS_SERVFAIL, 0, 0);
    }
    begin(&b, REPLY, DNS_A, 0, 1);
    RR(&b, SELF, T_SOA, 300, "\0\0\0\0\1");
    expect(&b, DNS_A, DNS_SERVFAIL, 0, 0);
}

/* Law: a part of a message is never believed, and any one byte changed gives some answer without
 * harm. */
static void test_prefixes_and_flips(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    begin(&b, REPLY, DNS_MX, 3, 1);
    RR(&b, SELF, T_CNAME, 200, "\1a\300\24");
    RR(&b, "\1a\4test\0", T_MX, 300, "\0\12\3mx1\300\14");
    RR(&b, "\1a\4test\0", T_MX, 300, "\0\24\3mx2\4test\0");
    RR(&b, SELF, T_NS, 300, "\2ns\300\14");
    expect(&b, DNS_MX, DNS_OK, 200, 2);
    for (size_t n = 0; n < b.n; n++) {
        struct dns_answer *a = read_copy(slice_head(buf_slice(&b), n), DNS_MX);
        assert_int_equal(a->status, DNS_SERVFAIL);
        dns_answer_unref(a);
    }
    for (size_t i = 0; i < b.n; i++)
        for (unsigned x = 1; x < 256; x++) {
            b.p[i] ^= (uint8_t)x;
            dns_answer_unref(read_copy(buf_slice(&b), DNS_MX));
            b.p[i] ^= (uint8_t)x;
        }
}

/* Counts in the header that promise more than there is, and 64 KiB of nothing. */
static void test_huge(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(1 << 17);
    begin(&b, REPLY, DNS_A, 65535, 65535);
    RR(&b, SELF, T_A, 300, "\31\0\0\1");
    expect(&b, DNS_A, DNS_SERVFAIL, 0, 0);
    for (size_t n = 65535; n <= 70000; n += 4465) {
        begin(&b, REPLY, DNS_A, 0, 0);
        while (b.n < n)
            buf_add_u8(&b, 0);
        expect(&b, DNS_A, DNS_SERVFAIL, 0, 0); /* bytes behind the message */
    }
}

/* 76: the names of an address, by an alias as RFC 2317 delegates it. */
static void test_names(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(65536);
    begin(&b, REPLY, DNS_PTR, 4, 0);
    RR(&b, SELF, T_CNAME, 300,
       "\4"
       "0/25"
       "\4"
       "test\0");
    RR(&b,
       "\4"
       "0/25"
       "\4"
       "test\0",
       T_PTR, 200, "\3OUT\4test\0");
    RR(&b,
       "\4"
       "0/25"
       "\4"
       "test\0",
       T_PTR, 100, "\1a\300\24");
    RR(&b,
       "\4"
       "0/25"
       "\4"
       "test\0",
       T_PTR, 100, "\4a\nb\\\4test\0");
    struct dns_answer *a = read_copy(buf_slice(&b), DNS_PTR);
    assert_int_equal(a->status, DNS_OK);
    assert_int_equal(a->ttl_s, 100);
    assert_int_equal(a->n, 3);
    assert_string_equal(a->mx[0].target, "a.test");
    assert_string_equal(a->mx[2].target, "out.test");
    assert_null(strchr(a->mx[1].target, '\n'));
    dns_answer_unref(a);
    begin(&b, REPLY, DNS_PTR, 1, 0);
    RR(&b, SELF, T_PTR, 300, "\3out\4test\0x"); /* more than the name */
    expect(&b, DNS_PTR, DNS_SERVFAIL, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_mx),           cmocka_unit_test(test_mx_cap),
        cmocka_unit_test(test_aliases),      cmocka_unit_test(test_no),
        cmocka_unit_test(test_negative_ttl), cmocka_unit_test(test_other_questions),
        cmocka_unit_test(test_bad_rdata),    cmocka_unit_test(test_prefixes_and_flips),
        cmocka_unit_test(test_huge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
