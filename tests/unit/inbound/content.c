/* What the front door says of a header section: limits, authors, tags; when it says so, and that
 * nothing of a refused message stays. Names of checklist items stand before the tests. */
#include "relay/base/defer.h"
#include "tests/unit/inbound/world.h"
#include <openssl/evp.h>

#define HEAD "From: ann@a.test\r\nTo: bob@b.test\r\n"

static void greeted(struct line *l, const struct world *w)
{
    *l = (struct line){.fd = call(w, TRUSTED)};
    hear(l, "220 ");
    talk(l, "EHLO c\r\n", "250 ");
}

static void plain(struct line *l, const char *user, const char *password)
{
    unsigned char raw[300] = {0}, text[600];
    size_t nu = strlen(user), np = strlen(password);
    char command[700];
    memcpy(raw + 1, user, nu);
    memcpy(raw + 2 + nu, password, np);
    EVP_EncodeBlock(text, raw, (int)(2 + nu + np));
    snprintf(command, sizeof command, "AUTH PLAIN %s\r\n", text);
    talk(l, command, "235 ");
}

/* One message whole; what the client hears at its end. */
static void send_as(struct line *l, const char *sender, const char *content, const char *hears)
{
    char mail[400];
    snprintf(mail, sizeof mail, "MAIL FROM:<%s>\r\n", sender);
    talk(l, mail, "250 ");
    talk(l, "RCPT TO:<bob@b.test>\r\n", "250 ");
    talk(l, "DATA\r\n", "354 ");
    say(l, content);
    talk(l, "\r\n.\r\n", hears);
}

static void send_to_trusted(struct line *l, const char *content, const char *hears)
{
    send_as(l, "ann@a.test", content, hears);
}

static void limits_have_their_words(void **state)
{
    (void)state;
    struct world *w =
        world_new(0, "max-header-size = 4K max-header-fields = 50 missing-date = refuse");
    DEFER(buf_done) struct buf many = BUF_MAX(6000), large = BUF_MAX(6000);
    struct line l;
    greeted(&l, w);
    for (size_t i = 0; i < 50; i++)
        buf_add_str(&many, "X: y\r\n");
    buf_add_str(&many, "Date: d\r\n");
    for (size_t i = 0; i < 5; i++)
        buf_addf(&large, "X: %0900d\r\n", 0);
    send_to_trusted(&l, buf_str(&many),
                    "554 5.6.0 the header section has too many fields; the limit is: 50");
    send_to_trusted(&l, buf_str(&large),
                    "552 5.3.4 the header section is too large; the limit in octets is: 4096");
    send_to_trusted(&l, HEAD, "554 5.6.0 the message has no Date: field\r\n");
    send_to_trusted(&l, HEAD "Date: d\r\n" HEAD,
                    "554 5.6.0 the message has more than one From: field\r\n");
    send_to_trusted(
        &l, HEAD "Date: d\r\nX-Postwain-Tag: \x1b[1mhello\r\n",
        "554 5.6.0 X-Postwain-Tag: needs key=value, the key 1 to 32 of A-Z a-z 0-9 . _ -, "
        "the value 1 to 128 octets of text:  [1mhello\r\n");
    send_to_trusted(&l, HEAD "Date: d\r\nX-Postwain-Tag: a=b\r\nX-Postwain-Tag: a=c\r\n",
                    "554 5.6.0 X-Postwain-Tag: has this key twice: a=c\r\n");
    send_to_trusted(&l, HEAD "Date: d\r\nX-Postwain-Tag: a=b\r\n", "250 ");
    talk(&l, "QUIT\r\n", "221 ");
    line_end(&l);
    all_sessions_end(w);
    assert_int_equal(world_free(w), 1);
}

/* 29 */
static void fifty_hops(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    DEFER(buf_done) struct buf content = BUF_MAX(4000);
    struct line l;
    greeted(&l, w);
    for (size_t i = 0; i < 50; i++)
        buf_add_str(&content, "Received: by r.test; x\r\n");
    send_to_trusted(&l, buf_str(&content), "250 ");
    buf_add_str(&content, "Received: by r.test; x\r\n");
    send_to_trusted(
        &l, buf_str(&content),
        "554 5.4.6 too many Received: fields, the message is going in circles; the limit "
        "is: 50\r\n");
    line_end(&l);
    all_sessions_end(w);
    assert_int_equal(world_free(w), 1);
}

/* Refused while it comes: the rest is not kept, the reply comes at its end, and the session goes on
 * (12: the envelope is gone). By DATA, and in chunks. */
static void a_large_message_is_refused_by_its_header(void **state)
{
    (void)state;
    static char lines[1 << 20];
    struct world *w = world_new(0, "");
    struct line l;
    for (size_t i = 0; i < sizeof lines; i++)
        lines[i] = "x\r\n"[i % 64 == 62 ? 1 : i % 64 == 63 ? 2 : 0];
    greeted(&l, w);
    for (unsigned chunked = 0; chunked < 2; chunked++) {
        char command[64];
        talk(&l, "MAIL FROM:<ann@a.test>\r\n", "250 ");
        talk(&l, "RCPT TO:<bob@b.test>\r\n", "250 ");
        if (chunked) {
            snprintf(command, sizeof command, "BDAT %zu\r\n", sizeof HEAD HEAD "\r\n" - 1);
            say(&l, command);
            say(&l, HEAD HEAD "\r\n");
            hear(&l, "554 5.6.0 the message has more than one From: field\r\n");
            snprintf(command, sizeof command, "BDAT %zu LAST\r\n", sizeof lines);
            say(&l, command);
            say_bytes(&l, lines, sizeof lines);
            hear(&l, "503 ");
        } else {
            talk(&l, "DATA\r\n", "354 ");
            say(&l, HEAD HEAD "\r\n");
            say_bytes(&l, lines, sizeof lines);
            talk(&l, ".\r\n", "554 5.6.0 the message has more than one From: field\r\n");
        }
        talk(&l, "RCPT TO:<bob@b.test>\r\n", "503 ");
    }
    send_to_trusted(&l, HEAD "\r\nhello", "250 ");
    line_end(&l);
    all_sessions_end(w);
    for (int i = 0; (w->rejected < 2 + 2 + 1 || body_files(w) > 0) && i < PATIENCE_S * 100; i++)
        usleep(10000); /* events become durable first */
    assert_int_equal(w->rejected, 2 + 2 + 1);
    assert_int_equal(body_files(w), 0);
    assert_int_equal(world_free(w), 1);
}

/* 30 */
static void a_user_with_patterns_names_only_those(void **state)
{
    (void)state;
    static const struct {
        const char *content, *hears;
    } said[] = {
        {"From: shop@a.test\r\n", "250 "},
        {"From: The Shop <SHOP@A.TEST>, desk: <x@a.test>;\r\n", "250 "},
        {"Subject: no author at all\r\n", "250 "},
        {"hello\r\n\r\nFrom: boss@other.test\r\n", "250 "}, /* that is body */
        {"From: boss@other.test\r\n",
         "550 5.7.1 you may not send as this address: From: boss@other.test\r\n"},
        {"From : \"shop@a.test\" (shop@a.test)\r\n <boss@other.test>\r\n",
         "550 5.7.1 you may not send as this address: From: boss@other.test\r\n"},
        {"From: shop@a.test, boss@other.test\r\n",
         "550 5.7.1 you may not send as this address: From: boss@other.test\r\n"},
        {"From: shop@a.test\r\nSender: boss@other.test\r\n",
         "550 5.7.1 you may not send as this address: Sender: boss@other.test\r\n"},
        {"Resent-From: boss@other.test\r\nFrom: shop@a.test\r\n",
         "550 5.7.1 you may not send as this address: Resent-From: boss@other.test\r\n"},
        {"Resent-From: shop@a.test\r\nFrom: boss@other.test\r\n",
         "550 5.7.1 you may not send as this address: From: boss@other.test\r\n"},
        {"From: shop@a.test <boss@other.test>\r\n",
         "550 5.7.1 you may send as some addresses only, and those in this field cannot be read: "
         "From: shop@a.test <boss@other.test>\r\n"},
        {"From: undisclosed:;\r\n", "550 5.7.1 you may send as some addresses only, and those in "
                                    "this field cannot be read: From: undisclosed:;\r\n"},
        {"From:\r\n",
         "550 5.7.1 you may send as some addresses only, and those in this field cannot "
         "be read"},
        {"From: Boss\r\n", "550 5.7.1 you may send as some addresses only, and those in this field "
                           "cannot be read: From: Boss\r\n"},
        {"Reply-To: boss@other.test\r\nFrom: shop@a.test\r\n", "250 "},
    };
    struct world *w = world_new(0, "");
    write_user(w, "shop", "one", "from=*@a.test");
    struct line l = submission(w);
    plain(&l, "shop", "one");
    size_t taken = 0;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        send_as(&l, "bounce@a.test", said[i].content, said[i].hears);
        taken += said[i].hears[0] == '2';
    }
    send_as(&l, "", "Subject: from nobody\r\n", "250 ");
    write_user(w, "shop", "one", ""); /* live at once */
    send_as(&l, "bounce@a.test", "From: boss@other.test\r\nSender: x\r\n", "250 ");
    line_end(&l);
    all_sessions_end(w);
    assert_int_equal(world_free(w), taken + 2);
}

static void authors_have_a_limit(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf content = BUF_MAX(4000);
    struct world *w = world_new(0, "");
    write_user(w, "shop", "one", "from=*@a.test");
    struct line l = submission(w);
    plain(&l, "shop", "one");
    buf_add_str(&content, "From: x@a.test");
    for (size_t i = 1; i < 100; i++)
        buf_add_str(&content, ",\r\n x@a.test");
    send_as(&l, "x@a.test", buf_str(&content), "250 ");
    buf_add_str(&content, ",\r\n x@a.test");
    send_as(&l, "x@a.test", buf_str(&content),
            "550 5.7.1 there are too many authors; the limit is: 100\r\n");
    line_end(&l);
    all_sessions_end(w);
    assert_int_equal(world_free(w), 1);
}

/* A message that is over, accepted or not, is nobody's any more: what is refused later names its
 * sender not, and an idle session keeps none of its thousand addresses. */
static void nothing_of_a_message_stays(void **state)
{
    (void)state;
    static const char *const contents[][2] = {
        {"\r\nx\r\n.\r\n", "250 2.0.0"},
        {"From: a@a.test\r\nFrom: b@a.test\r\n\r\nx\r\n.\r\n", "554 5.6.0"}};
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = world_new(0, "");
        struct line l = {.fd = call(w, TRUSTED)};
        hear(&l, "220 ");
        talk(&l, "EHLO c\r\n", "250 ");
        talk(&l, "MAIL FROM:<s@a.test>\r\n", "250 ");
        talk(&l, "RCPT TO:<r@b.test>\r\n", "250 ");
        talk(&l, "DATA\r\n", "354 ");
        talk(&l, contents[i][0], contents[i][1]);
        talk(&l, "RCPT TO:<other@b.test>\r\n", "503 5.5.1");
        talk(&l, "QUIT\r\n", "221 ");
        line_end(&l);
        all_sessions_end(w);
        for (int tries = 0; w->rejected < 1 + i && tries < PATIENCE_S * 100; tries++)
            usleep(10000);
        assert_int_equal(w->rejected, 1 + i);
        assert_int_equal(w->rejected_of_sender, i);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_have_their_words),
        cmocka_unit_test(fifty_hops),
        cmocka_unit_test(a_large_message_is_refused_by_its_header),
        cmocka_unit_test(a_user_with_patterns_names_only_those),
        cmocka_unit_test(authors_have_a_limit),
        cmocka_unit_test(nothing_of_a_message_stays),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    SSL_CTX_free(client_ctx());
    return failed;
}
