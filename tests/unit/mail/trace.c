/* 11, 26, 28, 21: the fields this relay writes, and peers that try to write their own through them.
 */
#include "relay/mail/header.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct wall now = {INT64_C(1700000000) * WALL_SECOND}; /* Tue, 14 Nov 2023 22:13:20 */

static void assert_text(struct buf *b, const char *want)
{
    if (!slice_eq(buf_slice(b), slice_str(want)))
        fail_msg("got\n%swanted\n%s", buf_str(b), want);
    buf_done(b);
}

static void received_names_who_how_and_when(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4096);
    struct received_info r = {.helo = SLICE_LIT("app.example.com"),
                              .client_ip = SLICE_LIT("192.0.2.7"),
                              .hostname = SLICE_LIT("relay.example.com"),
                              .queue_id = SLICE_LIT("01HF7YAT00"),
                              .protocol = SLICE_LIT("ESMTPSA"),
                              .tls_version = SLICE_LIT("TLSv1.3"),
                              .tls_cipher = SLICE_LIT("TLS_AES_256_GCM_SHA384"),
                              .recipient = SLICE_LIT("bob@example.net"),
                              .now = now};
    header_write_received(&b, &r);
    assert_text(&b,
                "Received: from app.example.com ([192.0.2.7]) by relay.example.com with ESMTPSA\r\n"
                "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) id 01HF7YAT00\r\n"
                "\tfor <bob@example.net>; Tue, 14 Nov 2023 22:13:20 +0000\r\n");
}

static void received_leaves_out_what_is_not_known(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4096);
    struct received_info r = {.helo = SLICE_LIT("[IPv6:2001:db8::1]"),
                              .client_ip = SLICE_LIT("2001:db8::1"),
                              .hostname = SLICE_LIT("r.test"),
                              .protocol = SLICE_LIT("SMTP"),
                              .now = now};
    header_write_received(&b, &r);
    assert_text(&b,
                "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1]) by r.test with SMTP;\r\n"
                "\tTue, 14 Nov 2023 22:13:20 +0000\r\n");
    r.client_ip = r.helo = SLICE_NONE;
    header_write_received(&b, &r);
    assert_text(&b, "Received: by r.test with SMTP; Tue, 14 Nov 2023 22:13:20 +0000\r\n");
    r.helo = SLICE_LIT("my laptop");
    r.client_ip = SLICE_LIT("192.0.2.7");
    header_write_received(&b, &r);
    assert_text(&b, "Received: from [192.0.2.7] (helo=my laptop) by r.test with SMTP;\r\n"
                    "\tTue, 14 Nov 2023 22:13:20 +0000\r\n");
}

/* 11: who handed it in is said as far as the configuration wants it said. */
static void received_shows_a_user_and_hides_a_client(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4096);
    struct received_info r = {.hostname = SLICE_LIT("r.test"),
                              .queue_id = SLICE_LIT("01HF7YAT00"),
                              .protocol = SLICE_LIT("UTF8SMTPSA"),
                              .user = SLICE_LIT("shop@example.com"),
                              .recipient = SLICE_LIT("b\xc3\xb6"
                                                     "b@example.net"),
                              .now = now};
    header_write_received(&b, &r);
    assert_text(&b,
                "Received: by r.test with UTF8SMTPSA (authenticated sender: shop@example.com)\r\n"
                "\tid 01HF7YAT00; Tue, 14 Nov 2023 22:13:20 +0000\r\n");
}

/* One Received field, ASCII, lines within 998, parentheses in balance and never nested. */
static void assert_one_received(struct slice text)
{
    struct header_field f;
    struct slice rest = text, line;
    assert_true(header_next(&rest, &f));
    assert_int_equal(rest.n, 0);
    assert_true(slice_eq(f.name, SLICE_LIT("Received")));
    assert_true(text.n < 2048 && text.p[text.n - 1] == '\n');
    int depth = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        assert_true((c >= 32 && c < 127) || c == '\t' || c == '\r' || c == '\n');
        assert_int_equal(c == '\n', i > 0 && text.p[i - 1] == '\r');
        depth += (c == '(') - (c == ')');
        assert_in_range(depth, 0, 1);
    }
    assert_int_equal(depth, 0);
    while ((line = slice_cut(&text, '\n')).n > 0)
        assert_true(line.n <= 999);
}

static void a_hostile_name_never_becomes_structure(void **state)
{
    (void)state;
    static char huge[60000];
    memset(huge, 'a', sizeof huge);
#define BYTES(literal)                                                                             \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }
    const struct slice hostile[] = {
        BYTES("x\r\nSubject: owned"),
        BYTES("x\r\n\r\nbody"),
        BYTES("x\n\tby evil.test; Mon, 1 Jan 2001 00:00:00 +0000"),
        BYTES("a\0b"),
        BYTES("a) by evil.test (b"),
        BYTES("((((("),
        BYTES("a\\"),
        BYTES("\"a"),
        BYTES("\xc3\xb6\xff\x80"),
        BYTES("a;b"),
        BYTES("\x1b[31m"),
        BYTES("<a@b>"),
        {(const uint8_t *)huge, sizeof huge},
    };
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++)
        for (unsigned place = 0; place < 9; place++) {
            struct received_info r = {.helo = SLICE_LIT("a.test"),
                                      .client_ip = SLICE_LIT("192.0.2.7"),
                                      .hostname = SLICE_LIT("r.test"),
                                      .queue_id = SLICE_LIT("1"),
                                      .protocol = SLICE_LIT("ESMTP"),
                                      .tls_version = SLICE_LIT("TLSv1.3"),
                                      .tls_cipher = SLICE_LIT("X"),
                                      .now = now};
            struct slice *slots[] = {&r.helo,       &r.client_ip, &r.hostname,
                                     &r.queue_id,   &r.protocol,  &r.tls_version,
                                     &r.tls_cipher, &r.recipient, &r.user};
            *slots[place] = hostile[i];
            struct buf b = BUF_MAX(4096);
            header_write_received(&b, &r);
            assert_false(b.overflow);
            assert_one_received(buf_slice(&b));
            assert_int_equal(slice_find_slice(buf_slice(&b), SLICE_LIT("for <")), b.n);
            buf_done(&b);
        }
}

/* 20, 28: the longest allowed names still fold into lines a receiver must take. */
static void long_names_fold(void **state)
{
    (void)state;
    struct buf host = BUF_MAX(300), b = BUF_MAX(4096);
    for (int i = 0; i < 250; i++)
        buf_add_u8(&host, i % 50 == 49 ? '.' : 'x');
    buf_add_str(&host, "test");
    struct received_info r = {.helo = buf_slice(&host),
                              .client_ip = SLICE_LIT("2001:db8:1111:2222:3333:4444:5555:6666"),
                              .hostname = buf_slice(&host),
                              .queue_id = SLICE_LIT("1"),
                              .protocol = SLICE_LIT("ESMTPS"),
                              .recipient = SLICE_LIT("\"a b;c\"@example.test"),
                              .now = now};
    header_write_received(&b, &r);
    assert_one_received(buf_slice(&b));
    assert_true(slice_find_slice(buf_slice(&b), r.recipient) < b.n);
    buf_done(&b);
    buf_done(&host);
}

static void date_and_message_id_are_added_whole(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4096);
    header_write_date(&b, now);
    header_write_message_id(&b, SLICE_LIT("01HF7YAT00"), SLICE_LIT("relay.example.com"));
    struct header_scan h;
    header_scan_init(&h, HEADER_SCAN_MAX);
    header_scan_bytes(&h, buf_slice(&b));
    header_scan_end(&h);
    assert_true(h.facts.has_message_id);
    assert_true(slice_eq(buf_slice(&h.message_id), SLICE_LIT("<01HF7YAT00@relay.example.com>")));
    header_scan_done(&h);
    assert_text(&b, "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
                    "Message-ID: <01HF7YAT00@relay.example.com>\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(received_names_who_how_and_when),
        cmocka_unit_test(received_leaves_out_what_is_not_known),
        cmocka_unit_test(received_shows_a_user_and_hides_a_client),
        cmocka_unit_test(a_hostile_name_never_becomes_structure),
        cmocka_unit_test(long_names_fold),
        cmocka_unit_test(date_and_message_id_are_added_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
