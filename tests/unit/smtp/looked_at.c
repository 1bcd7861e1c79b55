/* Whoever begins to look on in the middle of a dialogue sees from there what one sees who has
 * looked from its beginning. Law: at every moment at which a machine says that it is at ease. What
 * breaks for a user when it fails: a mail's content or a password is shown as if it were commands
 * (promise 21), or nothing is shown at all. */
#include "relay/smtp/watch.h"
#include "tests/talks/drive.h"
#include "tests/unit/smtp/client_kit.h"

enum { LOOKERS = 256 };

static struct looker {
    struct smtp_watch *w;
    struct buf told;
    size_t from; /* octets that the first of all was told before this one came */
} lookers[LOOKERS];
static size_t n_lookers;

static void on_line(void *ctx, const struct watch_line *l)
{
    struct buf *told = ctx;
    buf_addf(told, "%c%u %.*s {%.*s} %llu\n", l->who == WATCH_CLIENT ? 'C' : 'S', l->verb,
             SLICE_ARG(l->text), SLICE_ARG(l->path), (unsigned long long)l->hidden);
}

static void join(struct smtp_watch *w)
{
    assert_true(n_lookers < LOOKERS);
    lookers[n_lookers] =
        (struct looker){.w = w, .told = BUF_MAX(1 << 20), .from = lookers[0].told.n};
    n_lookers++;
}

static void pass(enum watch_who who, struct slice bytes)
{
    for (size_t i = 0; i < n_lookers; i++)
        smtp_watch_bytes(lookers[i].w, who, bytes, on_line, &lookers[i].told);
}

/* Returns how many have come in the middle. */
static size_t compare(void)
{
    const size_t n = n_lookers - 1;
    for (size_t i = 0; i < n_lookers; i++) {
        assert_string_equal(buf_str(&lookers[i].told), buf_str(&lookers[0].told) + lookers[i].from);
        if (strstr(buf_str(&lookers[i].told), "unseen") ||
            strstr(buf_str(&lookers[i].told), "dW5zZWVu"))
            fail_msg("%s", buf_str(&lookers[i].told));
    }
    for (; n_lookers > 0; n_lookers--) {
        smtp_watch_free(lookers[n_lookers - 1].w);
        if (n_lookers > 1)
            buf_done(&lookers[n_lookers - 1].told);
    }
    buf_done(&lookers[0].told);
    return n;
}

/* --- the client's side */

static void look_at_client(const struct talk *t)
{
    size_t awaited;
    if (smtp_client_at_ease(t->client, &awaited))
        join(smtp_watch_new_within(awaited, smtp_client_said(t->client)));
}

static void pass_what_was_said(const struct talk *t, size_t before)
{
    pass(WATCH_CLIENT, slice_skip(buf_slice(&t->said), before));
}

static size_t talk_with(const char *script)
{
    struct talk t;
    talk_start(&t, WHOLE, SMTP_TLS_NONE, true);
    t.conf.login = strstr(script, "LOGIN") != NULL;
    join(smtp_watch_new());
    for (struct slice rest = slice_str(script); rest.n;) {
        struct slice line = slice_cut(&rest, '\n');
        size_t before = t.said.n;
        if (line.p[0] == '!') {
            look_at_client(&t);
            drive(&t, slice_skip(line, 2));
            pass_what_was_said(&t, before);
        }
        DEFER(buf_done) struct buf bytes = BUF_MAX(1000);
        buf_add(&bytes, slice_skip(line, 2));
        buf_add_str(&bytes, "\r\n");
        for (size_t i = 0; line.p[0] == 'S' && i < bytes.n; i++) {
            struct slice one = slice_of(bytes.p + i, 1);
            look_at_client(&t);
            pass(WATCH_SERVER, one);
            before = t.said.n;
            feed(&t, one);
            pass_what_was_said(&t, before);
        }
    }
    talk_end(&t);
    return compare();
}

#define SAY_HELLO "S 220 mx ready\nS 250-mx hello\n"
#define CONTENT "MAIL FROM:<unseen@x>\\r\\nQUIT\\r\\nAUTH PLAIN unseen\\r\\n.unseen\\r\\n"
#define LINES "! body " CONTENT "\n! last " CONTENT "\n"
#define LOGIN                                                                                      \
    "! auth LOGIN\nS 334 VXNlcm5hbWU6\n! respond unseen\nS 334 UGFzc3dvcmQ6\n! respond unseen\n"   \
    "S 235 ok\n"
#define TXN "! begin 2\n" OK OK OK "S 354 go\n" LINES

static void at_a_client(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        size_t least;
    } rows[] = {
        /* one command at a time, content, a refusal, and the next on the same connection */
        {SAY_HELLO OK TXN OK "! begin 1\nS 550 no\n! begin 1\n" OK OK "S 354 go\n" LINES
                             "S 250-a\nS 250 b\n! quit\n",
         6},
        {SAY_HELLO "S 250 PIPELINING\n" TXN OK TXN "S 554-5.7.1 spam\nS 554 5.7.1 250 x\n! quit\n",
         4},
        /* the next envelope ahead of the answer to the dot */
        {SAY_HELLO "S 250 PIPELINING\n! begin 1\n" OK OK "S 354 go\n" LINES "! behind 1\n" OK OK OK
                   "S 354 go\n" LINES "! behind 1\n" OK OK OK "S 354 go\n" LINES OK,
         4},
        /* a message before the first reply, in one chunk and in two */
        {SAY_HELLO "S 250-PIPELINING\nS 250 CHUNKING\n! begin 1\n! last " CONTENT "\n" OK OK OK
                   "! begin 1\n" LINES OK OK OK OK "! quit\n",
         6},
        {SAY_HELLO "S 250-PIPELINING\nS 250 AUTH LOGIN PLAIN\n" LOGIN TXN OK, 2},
        /* promise 21: a peer that says our password again, long after the login */
        {SAY_HELLO "S 250 AUTH LOGIN PLAIN\n" LOGIN TXN OK
                   "! begin 1\nS 550 5.7.1 you are unseen\n! begin 1\nS 550 you said dW5zZWVu\n"
                   "! begin 1\nS 550-no\nS 550 xunseen\n! begin 1\nS 550 no\n",
         5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_in_range(talk_with(rows[i].script), rows[i].least, LOOKERS);
}

/* --- the server's side */

static void hear_client(struct drive *d, const char *says, size_t step)
{
    for (struct slice rest = slice_str(says); rest.n;) {
        struct slice piece = slice_head(rest, step);
        rest = slice_skip(rest, piece.n);
        size_t before = d->out.n;
        if (smtp_server_at_ease(d->s))
            join(smtp_watch_new_within(0, NULL));
        pass(WATCH_CLIENT, piece);
        drive_arrive(d, piece);
        pass(WATCH_SERVER, slice_skip(buf_slice(&d->out), before));
    }
}

/* A client waits for the end of a login; all else may come at once. */
static void at_a_server(void **state)
{
    (void)state;
    static const char login[] = "EHLO client.test\r\nNOOP\r\nAUTH PLAIN dW5zZWVu\r\nAUTH LOGIN\r\n"
                                "dW5zZWVu\r\nZ29vZA==\r\n";
    static const char mail[] =
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<refuse@d.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"
        "MAIL FROM:<unseen@x>\r\nQUIT\r\nunseen\r\n.\r\nMAIL FROM:<a@b.test>\r\nRCPT "
        "TO:<c@d.test>\r\nBDAT 14\r\nQUIT\r\nunseen\r\nBDAT 8 LAST\r\nunseen\r\nRSET\r\nwhat\r\n"
        "QUIT\r\n";
    for (size_t step = 1; step <= sizeof mail; step++) {
        const struct smtp_server_conf conf = drive_conf();
        struct drive d;
        drive_init(&d, &conf, false);
        drive_pump(&d, NULL);
        join(smtp_watch_new());
        pass(WATCH_SERVER, buf_slice(&d.out));
        hear_client(&d, login, 1);
        hear_client(&d, mail, step);
        drive_done(&d);
        assert_in_range(compare(), step == 1 ? 14 : 5, LOOKERS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_a_client),
        cmocka_unit_test(at_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
