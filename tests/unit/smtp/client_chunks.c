/* Mail by BDAT (RFC 3030): a message in one round trip, and what a peer can do about it (checklist
 * 57, 59, 62, 64). What breaks for a user when one fails: mail that is lost or doubled because a
 * reply was taken for another one's, or refused for ever by a peer that cannot do what it offers.
 */
#include "tests/unit/smtp/client_kit.h"

#define HELLO_CHUNKS                                                                               \
    "S 220 mx ready\nC EHLO me.example\nS 250-mx hello\nS 250-PIPELINING\nS 250 CHUNKING\nA "      \
    "READY\n"
#define ENVELOPE(n) "! begin " n "\nC MAIL FROM:<s@example.net>\nC RCPT TO:<r0@example.org>\n"
#define ONE HELLO_CHUNKS ENVELOPE("1") "A BODY\n"
#define TWO HELLO_CHUNKS ENVELOPE("2") "C RCPT TO:<r1@example.org>\nA BODY\n"
#define LAST "! last x\\r\\n\nC BDAT 3 LAST\nC x\n"
#define DEFERRED(what) "A DONE last: deferred host " what "\nA CLOSE\n"
#define UNKNOWN "other data chunking 4.5.0"

static const struct {
    const char *about, *script;
} rows[] = {
    {"the whole message before the first reply",
     ONE LAST OK OK OK "A DONE reusable: " DELIVERED "\nA READY\n" ENVELOPE("1") "A BODY\n"},
    {"dots stay as they are; the last line gets its end",
     ONE "! last .\\r\\n..a\nC BDAT 8 LAST\nC .\nC ..a\n" OK OK OK "A DONE reusable: " DELIVERED
         "\nA READY\n"},
    {"nothing at all",
     ONE "! last \nC BDAT 0 LAST\n" OK OK OK "A DONE reusable: " DELIVERED "\nA READY\n"},
    {"an empty piece at the end of a line",
     ONE "! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! last \nC BDAT 0 LAST\n" OK OK OK OK
         "A DONE reusable: " DELIVERED "\nA READY\n"},
    {"a bare LF is not sent",
     ONE "! last a\\nb\\r\\n\nA DONE last: failed message other mail body_lost 5.3.0\nA CLOSE\n"},
    {"61: some are taken", TWO LAST OK OK "S 550 5.1.1 no\n" OK "A DONE reusable: " DELIVERED
                                          " | " NO_USER "\nA READY\n"},
    {"62: nobody is taken, and the chunk is refused: RSET before the next",
     ONE LAST OK "S 550 5.1.1 no\nS 503 5.5.1 no recipients\nA DONE reusable: " NO_USER
                 "\nA READY\n! begin 1\nC RSET\n"},
    {"62: nobody is taken, and the chunk is: nobody has it",
     ONE LAST OK "S 550 5.1.1 no\n" OK "A DONE reusable: " NO_USER "\nA READY\n"},
    {"62: nobody is taken before the content is here: none goes", ONE OK
     "S 550 5.1.1 no\nA DONE reusable: " NO_USER "\nA READY\n! last x\\r\\n\n! begin 1\nC RSET\n"},
    {"the sender is refused: the replies to the rest are heard", ONE LAST
     "S 550 5.7.1 no\nS 503 5.5.1 no\nS 503 5.5.1 no\n"
     "A DONE reusable: failed message policy mail 550 5.7.1\nA READY\n" ENVELOPE("1") "A BODY\n"},
    {"the sender is refused before the content is here", ONE
     "S 450 4.7.1 no\nS 503 5.5.1 no\n"
     "A DONE reusable: deferred message policy mail 450 4.7.1\nA READY\n! last x\\r\\n\n" ENVELOPE(
         "1") "A BODY\n"},
    {"refused at the end", ONE LAST OK OK
     "S 554 5.7.1 spam\nA DONE reusable: failed message spam eod 554 5.7.1\nA READY\n" ENVELOPE(
         "1") "A BODY\n"},
    {"57: 421 instead of a reply to MAIL: it is not there",
     ONE LAST "S 421 4.3.2 down\n" DEFERRED("other mail 421 4.3.2")},
    {"59: gone without a word: it may be there",
     ONE LAST "! lost\n" DEFERRED("network eod conn_lost_eod 4.4.2")},
    {"59: gone before the last chunk: it is not", ONE
     "! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! lost\n" DEFERRED("network mail conn_lost 4.4.2")},
    {"59: silent",
     ONE LAST OK OK "! wait 599999\n! wait 1\n" DEFERRED("network eod smtp_timeout_eod 4.4.2")},
    {"64: one reply too many",
     ONE LAST OK OK OK "A DONE reusable: " DELIVERED "\nA READY\nS 250 more\nA CLOSE\n"},
    {"64: yes before the chunk has left",
     ONE "! unread\n! last x\\r\\n\n" OK OK OK DEFERRED("other eod smtp_protocol 4.5.0")},
    {"it does not know the command it offered: not a word more, and not for ever",
     ONE LAST OK OK "S 500 5.5.1 what\n" DEFERRED(UNKNOWN)},
    {"nor a chunk of several",
     ONE "! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n" OK OK "S 502 5.5.1 what\n" DEFERRED(UNKNOWN)},
    {"out of order, it says, though it took a recipient",
     TWO LAST OK OK "S 550 5.1.1 no\nS 503 5.5.1 what\nA DONE last: deferred host " UNKNOWN
                    " | " NO_USER "\nA CLOSE\n"},
    {"who was silent for a while is asked first",
     HELLO_CHUNKS "! wait 1000\n" ENVELOPE("1") "! silent\n" OK OK "A BODY\n" LAST OK
                                                "A DONE reusable: " DELIVERED "\nA READY\n"},
    {"62: nobody is taken: no more content goes, and the replies to what went are heard",
     ONE "! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! body b\\r\\n\nC BDAT 3\nC b\nA BODY\n" OK
         "S 550 5.1.1 no\n! last x\\r\\n\nS 503 5.5.1 no recipients\nS 503 5.5.1 no recipients\n"
         "A DONE reusable: " NO_USER "\nA READY\n! begin 1\nC RSET\n"},
    {"62: nor of what has not left",
     ONE "! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! unread\n! body b\\r\\n\nA BODY\n" OK
         "S 550 5.1.1 no\nS 503 5.5.1 no recipients\n! read\nC BDAT 3\nC b\n"
         "S 503 5.5.1 no recipients\nA DONE reusable: " NO_USER "\nA READY\n! begin 1\nC RSET\n"},
    {"60: a chunk is refused, another one is on its way",
     ONE "! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! unread\n! body b\\r\\n\nA BODY\n" OK OK
         "S 452 4.3.1 full\n! last x\\r\\n\n! read\nC BDAT 3\nC b\nS 503 5.5.1 over\n"
         "A DONE reusable: deferred message other data 452 4.3.1\nA READY\n! begin 1\nC RSET\n"},
    {"60: a chunk is refused before it has left: what is read of it is anybody's guess",
     ONE "! unread\n! body a\\r\\n\nA BODY\n" OK OK "S 452 4.3.1 full\n"
         "A DONE last: deferred message other data 452 4.3.1\nA CLOSE\n"},
    {"64: yes before a chunk has left",
     ONE "! unread\n! body a\\r\\n\nA BODY\n" OK OK OK DEFERRED("other data smtp_protocol 4.5.0")},
    {"nor is it known as none when only a chunk for nobody is refused",
     ONE LAST OK "S 450 4.2.0 later\nS 500 5.5.1 what\n"
                 "A DONE reusable: deferred recipient other rcpt 450 4.2.0\nA READY\n"},
    {"without PIPELINING it waits for each reply, and needs no DATA",
     "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250 CHUNKING\nA READY\n"
     "! begin 1\nC MAIL FROM:<s@example.net>\n" OK RCPT0 OK "A BODY\n" LAST OK
     "A DONE reusable: " DELIVERED "\nA READY\n"},
    {"without PIPELINING much content goes by DATA",
     "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250 CHUNKING\nA READY\n"
     "! begin 1 size=65537\nC MAIL FROM:<s@example.net>\n" OK RCPT0 OK "C DATA\n"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("%s\n", rows[i].about);
        run(rows[i].script, SMTP_TLS_NONE, false);
    }
}

/* The octets of all chunks, which must fill `said` exactly. */
static void take_chunks(struct slice said, struct buf *out)
{
    uint64_t n;
    for (bool last = false; !last;) {
        size_t eol = slice_find_slice(said, SLICE_LIT("\r\n"));
        struct slice words = slice_head(said, eol);
        assert_true(slice_eq(slice_cut(&words, ' '), SLICE_LIT("BDAT")));
        assert_true(slice_u64(slice_cut(&words, ' '), 1000, &n));
        last = slice_eq(words, SLICE_LIT("LAST"));
        said = slice_skip(said, eol + 2);
        assert_true(said.n >= n);
        buf_add(out, slice_head(said, (size_t)n));
        said = slice_skip(said, (size_t)n);
    }
    assert_int_equal(said.n, 0);
}

/* However the content is cut into pieces, the chunks are the same octets, with one line end more
 * where it lacks one. */
static void test_pieces(void **state)
{
    (void)state;
    static const char *const contents[] = {"", "a", "a\r\n", ".\r\n..b\r\n.\r\nc", "\r\n\r\n"};
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        struct slice whole = slice_str(contents[i]);
        bool ended = whole.n == 0 || whole.p[whole.n - 1] == '\n';
        for (size_t at = 0; at <= whole.n; at++) {
            struct talk t;
            play(&t, HELLO_CHUNKS ENVELOPE("1") "A BODY\n", SMTP_TLS_NONE, false, WHOLE);
            smtp_client_body(t.client, slice_head(whole, at), false, t.now);
            pull(&t);
            smtp_client_body(t.client, slice_skip(whole, at), true, t.now);
            pull(&t);
            DEFER(buf_done) struct buf got = BUF_MAX(1000);
            take_chunks(buf_slice(&t.said), &got);
            assert_true(slice_eq(slice_head(buf_slice(&got), whole.n), whole));
            assert_true(
                slice_eq(slice_skip(buf_slice(&got), whole.n), slice_str(ended ? "" : "\r\n")));
            talk_end(&t);
        }
    }
}

/* Content is given as long as the machine asks for it; how much it took. */
static size_t give_all(struct talk *t)
{
    static const char piece[65536];
    size_t n = 0;
    while (t->acts.n > 0) {
        expect(&t->acts, SLICE_LIT("BODY"), "\n", "");
        smtp_client_body(t->client, slice_of(piece, sizeof piece), false, t->now);
        pull(t);
        n += sizeof piece;
    }
    return n;
}

/* Much content goes at once, too, but not all of it to somebody who perhaps takes nobody; nor do
 * its chunks go ahead without end. */
static void test_much(void **state)
{
    (void)state;
    enum { AT_ONCE = 4, AHEAD = 128 };
    struct talk t;
    play(&t,
         HELLO_CHUNKS "! begin 1 size=100000000\n"
                      "C MAIL FROM:<s@example.net>\nC RCPT TO:<r0@example.org>\n",
         SMTP_TLS_NONE, false, WHOLE);
    assert_int_equal(give_all(&t), AT_ONCE * 65536);
    step_through(&t, OK);
    feed_pending(&t);
    assert_int_equal(give_all(&t), 0);
    step_through(&t, OK);
    feed_pending(&t);
    assert_int_equal(give_all(&t), (AHEAD - AT_ONCE) * 65536);
    step_through(&t, OK OK OK);
    feed_pending(&t);
    assert_int_equal(give_all(&t), 3 * 65536);
    talk_end(&t);
}

/* A peer whose CHUNKING is known to be no good. */
static void test_not_believed(void **state)
{
    (void)state;
    struct talk t;
    talk_start(&t, WHOLE, SMTP_TLS_NONE, false);
    t.conf.no_chunking = true;
    step_through(&t, HELLO_CHUNKS PIPE1 OK OK GO "! last x\\r\\n\nC x\nC .\n" OK
                                                 "A DONE reusable: " DELIVERED "\nA READY\n");
    assert_int_equal(t.said.n + t.acts.n, 0);
    talk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_much),
        cmocka_unit_test(test_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
