/* A dialogue told to somebody who looks on (promise 21). If this breaks, a password or a mail's
 * content stands on an operator's screen. */
#include "relay/smtp/watch.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct buf told;

static void on_line(void *ctx, const struct watch_line *l)
{
    static const char *const verbs[] = {"", "mail ", "rcpt ", "rset ", "end "};
    (void)ctx;
    buf_addf(&told, "%c %s", l->who == WATCH_CLIENT ? 'C' : 'S', verbs[l->verb]);
    buf_add(&told, l->text);
    if (l->path.p)
        buf_addf(&told, " {%.*s}", SLICE_ARG(l->path));
    if (l->hidden)
        buf_addf(&told, " (%llu)", (unsigned long long)l->hidden);
    buf_add_u8(&told, '\n');
}

/* "C…" and "S…" in turns: what each says; "T": TLS begins. In pieces of `step` octets (0: of any
 * size). */
static const char *watch(const char *const *says, size_t step)
{
    struct smtp_watch *w = smtp_watch_new();
    struct rng rng;
    rng_seed(&rng, 7);
    buf_reset(&told);
    for (; *says; says++) {
        struct slice rest = slice_str(*says + 1);
        if (**says == 'T')
            smtp_watch_tls(w);
        while (rest.n) {
            size_t n = step ? step : 1 + (size_t)rng_below(&rng, 30);
            smtp_watch_bytes(w, **says == 'C' ? WATCH_CLIENT : WATCH_SERVER, slice_head(rest, n),
                             on_line, NULL);
            rest = slice_skip(rest, n);
        }
    }
    smtp_watch_free(w);
    return buf_str(&told);
}

static const struct {
    const char *says[16], *told;
} rows[] = {
    {{"S220 hi\r\n", "CEHLO a\r\n", "S250-hi\r\n250 SIZE\r\n", "CMAIL FROM:<a@b> SIZE=1\r\n",
      "S250 ok\r\n", "CRCPT TO:<c@d>\r\nDATA\r\n", "S250 ok\r\n354 go\r\n",
      "CSubject: secret\r\n\r\nRSET\r\n..x\r\n.\r\n", "S250 ok\r\n", "CQUIT\r\n", "S221 bye\r\n"},
     "S 220 hi\nC EHLO a\nS 250-hi\nS 250 SIZE\nC mail MAIL FROM:<a@b> SIZE=1 {a@b}\nS 250 ok\n"
     "C rcpt RCPT TO:<c@d> {c@d}\nC DATA\nS 250 ok\nS 354 go\nC end  (33)\nS 250 ok\nC QUIT\nS 221 "
     "bye\n"},
    /* a group whose DATA is refused: what follows are commands again */
    {{"S220 hi\r\n", "CMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
      "S250 ok\r\n550 no\r\n554 none\r\n", "CRSET\r\n", "S250 ok\r\n"},
     "S 220 hi\nC mail MAIL FROM:<> {}\nC rcpt RCPT TO:<c@d> {c@d}\nC DATA\nS 250 ok\nS 550 no\nS "
     "554 none\nC rset RSET\nS 250 ok\n"},
    /* content that does not wait for 354 is content all the same */
    {{"S220 hi\r\n", "CDATA\r\npassword: x\r\n.\r\nNOOP\r\n", "S354 go\r\n250 ok\r\n250 ok\r\n"},
     "S 220 hi\nC DATA\nC end  (16)\nC NOOP\nS 354 go\nS 250 ok\nS 250 ok\n"},
    {{"S220 hi\r\n", "CBDAT 5\r\nQUIT\nBDAT 3 LAST\r\n\r\n.NOOP\r\n", "S250 a\r\n250 b\r\n"},
     "S 220 hi\nC BDAT 5\nC end  (5)\nC BDAT 3 LAST\nC end  (3)\nC NOOP\nS 250 a\nS 250 b\n"},
    {{"S220 hi\r\n", "CBDAT 0 LAST\r\nNOOP\r\nBDAT x\r\nAUTH PLAIN abcd\r\nQUIT\r\n"},
     "S 220 hi\nC BDAT 0 LAST\nC NOOP\nC BDAT x\n"},
    /* logins */
    /* the password of what was hidden, as the peer has read it */
    {{"S220 hi\r\n", "CAUTH PLAIN AGEAc2VjcmV0\r\n", "S535 not secret, a\r\n", "CNOOP\r\n",
      "S250 secrets\r\n"},
     "S 220 hi\nC AUTH PLAIN (13)\nS  (17)\nC NOOP\nS  (11)\n"},
    {{"S220 hi\r\n", "CAUTH XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHRva2VuMQEB\r\n",
      "S535 token1 is old\r\n"},
     "S 220 hi\nC AUTH XOAUTH2 (37)\nS  (17)\n"},
    {{"S220 hi\r\n", "CAUTH PLAIN AGEAc2VjcmV0\r\n", "S235 ok\r\n", "CNOOP\r\n", "S250 ok\r\n"},
     "S 220 hi\nC AUTH PLAIN (13)\nS 235 ok\nC NOOP\nS 250 ok\n"},
    {{"S220 hi\r\n", "Cauth login\r\n", "S334 VXNlcm5hbWU6\r\n", "CdXNlcg==\r\n",
      "S334 UGFzc3dvcmQ6\r\n", "CRSET\r\n", "S535 5.7.8 no\r\n", "CRSET\r\n"},
     "S 220 hi\nC AUTH LOGIN\nS 334 (13)\nC  (8)\nS 334 (13)\nC  (4)\nS 535 5.7.8 no\nC rset "
     "RSET\n"},
    /* refused at once, while the client goes on with its secrets */
    {{"S220 hi\r\n", "CAUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\nQUIT\r\n",
      "S503 no\r\n500 c2VjcmV0 is no command\r\n500 what\r\n"},
     "S 220 hi\nC AUTH LOGIN\nC  (8)\nC  (8)\nC  (4)\nS 503 no\nS  (26)\nS 500 what\n"},
    {{"S220 hi\r\n", "CAUTH hunter2hunter2\r\n", "S501 hunter2hunter2? never heard\r\n"},
     "S 220 hi\nC AUTH (15)\nS  (31)\n"},
    /* a password out of turn, and what else is no verb */
    {{"S220 hi\r\n", "Ccorrect horse\r\nQUITTER\r\n  NOOP  x\r\n\r\n", "S500 a\r\n500 b\r\n"},
     "S 220 hi\nC  (13)\nC  (7)\nC   NOOP  x\nC \nS 500 a\nS 500 b\n"},
    /* what was said in clear is over with TLS: a line that had begun, an answer that was awaited */
    {{"S220 hi\r\n", "CSTARTTLS\r\nAUTH PL", "S220 go\r\n", "T", "CEHLO a\r\n", "S250 ok\r\n"},
     "S 220 hi\nC STARTTLS\nS 220 go\nC EHLO a\nS 250 ok\n"},
};

static void dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(watch(rows[i].says, SIZE_MAX), rows[i].told);
        assert_string_equal(watch(rows[i].says, 1), rows[i].told);
        assert_string_equal(watch(rows[i].says, 0), rows[i].told);
    }
}

static void long_lines_and_many(void **state)
{
    (void)state;
    struct smtp_watch *w = smtp_watch_new();
    char line[3 * WATCH_LINE_MAX];
    buf_reset(&told);
    memset(line, 'x', sizeof line);
    memcpy(line, "NOOP ", 5);
    line[sizeof line - 1] = '\n';
    smtp_watch_bytes(w, WATCH_CLIENT, slice_of(line, sizeof line), on_line, NULL);
    assert_int_equal(told.n, strlen("C ") + WATCH_LINE_MAX + strlen(" (2047)\n"));
    buf_reset(&told);
    for (int i = 0; i < 2 * WATCH_AWAITED_MAX; i++)
        smtp_watch_bytes(w, WATCH_CLIENT, SLICE_LIT("NOOP\r\n"), on_line, NULL);
    buf_reset(&told);
    smtp_watch_bytes(w, WATCH_CLIENT, SLICE_LIT("AUTH PLAIN aaaa\r\nRSET\r\n"), on_line, NULL);
    assert_string_equal(buf_str(&told), "C AUTH PLAIN (5)\nC  (4)\n");
    smtp_watch_free(w);
}

/* Whatever comes, in whatever order: nothing that the client says behind AUTH and before its answer
 * is shown. */
static void any_order(void **state)
{
    (void)state;
    static const char *const client[] = {"AUTH PLAIN c2VjcmV0\r\n",
                                         "c2VjcmV0\r\n",
                                         "NOOP\r\n",
                                         "DATA\r\n",
                                         ".\r\n",
                                         "BDAT 4\r\n",
                                         "RSET\r\n"};
    static const char *const server[] = {"250 ok\r\n", "334 \r\n",  "354 go\r\n",
                                         "535 no\r\n", "250-x\r\n", "500 c2VjcmV0\r\n"};
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct smtp_watch *w = smtp_watch_new();
        struct rng rng;
        rng_seed(&rng, seed);
        buf_reset(&told);
        for (int i = 0; i < 40; i++) {
            bool from_client = rng_below(&rng, 2);
            const char *says =
                from_client ? client[rng_below(&rng, 7)] : server[rng_below(&rng, 6)];
            /* A server knows it only when the client has said it. */
            if (says == server[5] && !strstr(buf_str(&told), "AUTH"))
                continue;
            smtp_watch_bytes(w, from_client ? WATCH_CLIENT : WATCH_SERVER, slice_str(says), on_line,
                             NULL);
        }
        if (strstr(buf_str(&told), "c2VjcmV0"))
            fail_msg("seed %llu: %s", (unsigned long long)seed, buf_str(&told));
        smtp_watch_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dialogues),
        cmocka_unit_test(long_lines_and_many),
        cmocka_unit_test(any_order),
    };
    told = BUF_MAX(1 << 20);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&told);
    return rc;
}
