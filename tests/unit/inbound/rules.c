/* What a user's line in the users file allows, at MAIL and RCPT: each limit has its reply.
 * Checklist 15, 18, 30, 31. */
#include "relay/inbound/private.h"
#include "tests/unit/inbound/world.h"
#include <openssl/evp.h>

static struct line logged_in(const struct world *w)
{
    struct line l = submission(w);
    talk(&l, "AUTH PLAIN AHUAb25l\r\n", "235 "); /* u, one */
    return l;
}

static void senders(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "from=*@a.test,from=info@b.test");
    struct line l = logged_in(w);
    talk(&l, "MAIL FROM:<eve@b.test>\r\n", "553 5.7.1 You may not send as this address");
    talk(&l, "MAIL FROM:<any@A.test>\r\n", "250 2.1.0");
    talk(&l, "RSET\r\n", "250 ");
    talk(&l, "MAIL FROM:<info@b.test>\r\n", "250 ");
    talk(&l, "RSET\r\n", "250 ");
    talk(&l, "MAIL FROM:<>\r\n", "250 ");
    line_end(&l);
    world_free(w);
}

/* The seconds in a reply "… in N seconds". */
static long seconds_in(const char *reply)
{
    const char *at = strstr(reply, " in ");
    assert_non_null(at);
    assert_non_null(strstr(at, " seconds"));
    return strtol(at + 4, NULL, 10);
}

static void expect_wait(struct line *l, const char *says, const char *start)
{
    char reply[1100];
    say(l, says);
    hear_reply(l, reply);
    assert_memory_equal(reply, start, strlen(start));
    assert_in_range(seconds_in(reply), 1700, 1800); /* 2/h: one in half an hour */
}

/* 450 at RCPT, so that the others of this message go; 452 at MAIL when nothing is left. The count
 * is the user's, not the session's, and an edit of the file does not begin it anew. */
static void rate(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "rate=2/h,burst=3");
    struct line l = logged_in(w), second = logged_in(w);
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<1@b.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<1@b.test>\r\n", "250 "); /* checklist 31: told twice, counted twice */
    talk(&l, "RCPT TO:<2@b.test>\r\n", "250 ");
    expect_wait(&l, "RCPT TO:<3@b.test>\r\n", "450 4.7.1 ");
    talk(&l, "DATA\r\n", "354 ");
    talk(&l, "Subject: s\r\n\r\nx\r\n.\r\n", "250 2.0.0");
    expect_wait(&l, "MAIL FROM:<x@a.test>\r\n", "452 4.7.1 ");
    expect_wait(&second, "MAIL FROM:<x@a.test>\r\n", "452 4.7.1 ");
    write_user(w, "u", "one", "rate=2/h,burst=3,max-size=1M");
    expect_wait(&l, "MAIL FROM:<x@a.test>\r\n", "452 4.7.1 ");
    write_user(w, "u", "one", "");
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    line_end(&l);
    line_end(&second);
    assert_int_equal(world_free(w), 1);
}

/* The log of a refused recipient names the domain that the mail would have gone to, as that of an
 * accepted one does: a quoted local part may hold an "@" (checklist 20). */
static void domain_of_a_refused_recipient(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "max-recipients=1");
    struct line l = logged_in(w);
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<1@b.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<\"2@b\"@C.test>\r\n", "452 4.5.3 ");
    for (int tries = 0; w->rejected < 1 && tries < PATIENCE_S * 100; tries++)
        usleep(10000);
    assert_int_equal(w->rejected, 1);
    assert_string_equal(w->rejected_domain, "c.test");
    line_end(&l);
    world_free(w);
}

static void send_octets(struct line *l, unsigned n, const char *hears)
{
    char *text = must_alloc(n + 1);
    memset(text, 'x', n);
    for (unsigned i = 76; i + 1 < n; i += 78) {
        text[i] = '\r';
        text[i + 1] = '\n';
    }
    talk(l, "RCPT TO:<1@b.test>\r\n", "250 ");
    talk(l, "DATA\r\n", "354 ");
    say(l, "Subject: s\r\n\r\n");
    say(l, text);
    talk(l, "\r\n.\r\n", hears);
    free(text);
}

/* Checklist 15: what SIZE= says, and what comes. */
static void size(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "max-size=10K");
    struct line l = logged_in(w);
    talk(&l, "MAIL FROM:<x@a.test> SIZE=10241\r\n",
         "552 5.3.4 message too big; the limit in octets is: 10240");
    talk(&l, "MAIL FROM:<x@a.test> SIZE=1\r\n", "250 ");
    send_octets(&l, 11000, "552 5.3.4");
    talk(&l, "MAIL FROM:<x@a.test> SIZE=10240\r\n", "250 ");
    send_octets(&l, 9000, "250 2.0.0");
    write_user(w, "u", "one", ""); /* live */
    talk(&l, "RSET\r\n", "250 ");
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    send_octets(&l, 11000, "250 2.0.0");
    line_end(&l);
    assert_int_equal(world_free(w), 2);
}

/* Checklist 18. */
static void recipients(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "max-recipients=2");
    struct line l = logged_in(w);
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<1@b.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<2@b.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<3@b.test>\r\n", "452 4.5.3");
    talk(&l, "RSET\r\n", "250 ");
    line_end(&l);
    world_free(w);
}

static void disabled_and_gone(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "");
    struct line l = logged_in(w);
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    write_user(w, "u", "one", "disabled");
    talk(&l, "RCPT TO:<1@b.test>\r\n", "250 "); /* what has begun may end */
    talk(&l, "DATA\r\n", "354 ");
    talk(&l, "x\r\n.\r\n", "250 2.0.0");
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "550 5.7.1 Your login has been disabled or removed");
    write_user(w, "u", "one", "");
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    talk(&l, "RSET\r\n", "250 ");
    write_file(w, "users", "");
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "550 5.7.1");
    line_end(&l);
    assert_int_equal(world_free(w), 1);
}

/* A destination that the configuration lost is ours to mend: nothing goes another way. */
static void destination(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "destination=nowhere");
    struct line l = logged_in(w);
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "451 4.3.5");
    write_user(w, "u", "one", "destination=default");
    talk(&l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    line_end(&l);
    world_free(w);
}

/* RFC 6710: nobody gets more than his class, and is told. */
static void priority(void **state)
{
    (void)state;
    static const struct {
        enum user_priority class;
        int8_t asked, gets;
        const char *hears; /* NULL: the usual reply */
    } rows[] = {
        {USER_PRIORITY_ANY, 9, 9, NULL},
        {USER_PRIORITY_ANY, -9, -9, NULL},
        {USER_PRIORITY_ANY, 0, 0, NULL},
        {USER_PRIORITY_HIGH, 9, 9, NULL},
        {USER_PRIORITY_HIGH, 1, 1, NULL},
        {USER_PRIORITY_HIGH, 0, 4, NULL},
        {USER_PRIORITY_NORMAL, 3, 0, "0 is the new priority of the message"},
        {USER_PRIORITY_NORMAL, -3, -3, NULL},
        {USER_PRIORITY_NORMAL, 0, 0, NULL},
        {USER_PRIORITY_LOW, 5, -4, "-4 is the new priority of the message"},
        {USER_PRIORITY_LOW, -3, -4, "-4 is the new priority of the message"},
        {USER_PRIORITY_LOW, -6, -6, NULL},
        {USER_PRIORITY_LOW, 0, -4, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct user u = {.priority = rows[i].class};
        struct session s = {.rules.user = &u, .txn.params.priority = rows[i].asked};
        const struct smtp_reply *r = rules_begin(&s);
        assert_int_equal(s.txn.params.priority, rows[i].gets);
        assert_int_equal(r != NULL, rows[i].hears != NULL);
        if (r) {
            assert_int_equal(r->code, 250);
            assert_int_equal(r->enhanced.class, 2);
            assert_int_equal(r->enhanced.subject, 3);
            assert_int_equal(r->enhanced.detail, 6);
            assert_true(slice_eq(r->text, slice_str(rows[i].hears)));
        }
    }
    struct session nobody = {.txn.params.priority = 9}; /* a trusted network */
    assert_null(rules_begin(&nobody));
    assert_int_equal(nobody.txn.params.priority, 9);
}

/* The user's tags come first; a message cannot say otherwise of them. */
static void tags(void **state)
{
    (void)state;
    const struct user u = {.tags = "team=shop\nenv=live", .n_tags = 2, .destination = "bulk"};
    struct session s = {.rules.user = &u};
    struct envelope e = {.tags = SLICE_LIT("env=test\norder=7")};
    rules_fill(&s, &e);
    assert_true(slice_eq(e.tags, SLICE_LIT("team=shop\nenv=live\norder=7")));
    assert_true(slice_eq(e.route, SLICE_LIT("bulk")));
    rules_end(&s);
}

static void send_tags(struct line *l, unsigned n, bool same_key, const char *hears)
{
    char field[64];
    talk(l, "MAIL FROM:<x@a.test>\r\n", "250 ");
    talk(l, "RCPT TO:<y@b.test>\r\n", "250 ");
    talk(l, "DATA\r\n", "354 ");
    for (unsigned i = 0; i < n; i++) {
        snprintf(field, sizeof field, "X-Postwain-Tag: k%u=v\r\n", i);
        say(l, field);
    }
    if (same_key)
        say(l, "X-Postwain-Tag: team=mine\r\n");
    talk(l, "\r\nx\r\n.\r\n", hears);
}

/* What does not fit is told: a tag that is lost in silence is found out too late. */
static void too_many_tags(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "tag=team=shop,tag=env=live");
    struct line l = logged_in(w);
    send_tags(&l, 14, false, "250 2.0.0");
    send_tags(&l, 14, true, "250 2.0.0"); /* the login's key: not one more */
    send_tags(&l, 15, false,
              "554 5.6.0 too many tags, those of X-Postwain-Tag: and of your login; the limit is: "
              "16");
    write_user(w, "u", "one", "");
    send_tags(&l, 16, false, "250 2.0.0");
    line_end(&l);
    assert_int_equal(world_free(w), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(senders),       cmocka_unit_test(rate),
        cmocka_unit_test(size),          cmocka_unit_test(recipients),
        cmocka_unit_test(destination),   cmocka_unit_test(disabled_and_gone),
        cmocka_unit_test(priority),      cmocka_unit_test(tags),
        cmocka_unit_test(too_many_tags), cmocka_unit_test(domain_of_a_refused_recipient),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    SSL_CTX_free(client_ctx());
    return failed;
}
