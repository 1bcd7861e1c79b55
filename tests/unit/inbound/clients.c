/* The table of clients, with handed-in time. If this breaks, a guesser is not stopped, or a client
 * is that did nothing; or who comes from very many addresses takes the relay's memory. */
#include "relay/inbound/clients.h"
#include "relay/base/must.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MINUTE INT64_C(60000)
static struct clients *table;
static struct mono now;
static struct clients_refusal refusal;

static int setup(void **state)
{
    (void)state;
    table = clients_new();
    now = (struct mono){1000000};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clients_free(table);
    return 0;
}

static struct clients_key key(const char *text)
{
    struct clients_key k = {0};
    if (!clients_key_parse(slice_str(text), &k))
        fail_msg("%s is no client", text);
    return k;
}

static const struct clients_limits free_for_all = {0};

static enum clients_answer enter(const char *text, const struct clients_limits *l,
                                 struct client **ret)
{
    const struct clients_key k = key(text);
    struct client *mine = NULL;
    const enum clients_answer a = clients_enter(table, &k, 0, l, now, ret ? ret : &mine, &refusal);
    return a;
}

static void come_and_go(const char *text)
{
    struct client *one = NULL;
    assert_int_equal(enter(text, &free_for_all, &one), CLIENTS_IN);
    clients_leave(table, one, 0, now);
}

/* Under one name, each time with another password. */
enum { NAME = 1 };
static struct guess next_guess(void)
{
    static uint64_t n;
    return (struct guess){.name = NAME, .credential = ++n};
}

static struct clients_failure fail_login(const char *text, unsigned allowed)
{
    const struct clients_key k = key(text);
    const struct clients_rules rules = {.failures = allowed, .ban_ms = 15 * MINUTE};
    return clients_auth_failed(table, &k, &rules, next_guess(), now);
}

/* All rows, page by page; each key at most once. */
static size_t all_rows(struct clients_row *ret, size_t max, size_t page)
{
    size_t at = 0, n = 0, got;
    bool more = true;
    while (more) {
        struct clients_row rows[64];
        assert_true(page <= 64);
        more = clients_page(table, &at, rows, page, &got, now);
        assert_true(got <= page);
        for (size_t i = 0; i < got; i++, n++)
            if (n < max)
                ret[n] = rows[i];
    }
    return n;
}

static void who_is_one_client(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown; /* NULL: names none */
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
        {"2001:db8:1:2::/64", "2001:db8:1:2::/64"},
        {"192.0.2.1/32", "192.0.2.1"},
        {"::1", "::/64"},
        {"192.0.2.0/24", NULL},
        {"2001:db8::/48", NULL},
        {"2001:db8::/65", NULL},
        {"localhost", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clients_key k;
        char text[CLIENTS_KEY_SIZE];
        if (!clients_key_parse(slice_str(cases[i].text), &k)) {
            assert_null(cases[i].shown);
            continue;
        }
        clients_key_text(&k, text);
        assert_non_null(cases[i].shown);
        assert_string_equal(text, cases[i].shown);
    }
    struct sockaddr_in6 a = {.sin6_family = AF_INET6};
    struct clients_key from_socket, v4 = key("192.0.2.1"), v6 = key("2001:db8:1:2::/64");
    inet_pton(AF_INET6, "::ffff:192.0.2.1", &a.sin6_addr);
    assert_true(clients_key_of((struct sockaddr *)&a, &from_socket));
    assert_memory_equal(&from_socket, &v4, sizeof v4);
    inet_pton(AF_INET6, "2001:db8:1:2:ffff::9", &a.sin6_addr);
    assert_true(clients_key_of((struct sockaddr *)&a, &from_socket));
    assert_memory_equal(&from_socket, &v6, sizeof v6);
}

static void limits_of_open_connections(void **state)
{
    (void)state;
    const struct clients_limits l = {.per_client = 2, .per_listener = 3};
    struct client *a1, *a2, *b, *refused = NULL;
    assert_int_equal(enter("2001:db8::1", &l, &a1), CLIENTS_IN);
    assert_int_equal(enter("2001:db8::2", &l, &a2), CLIENTS_IN);
    assert_ptr_equal(a1, a2);
    assert_int_equal(enter("2001:db8::3", &l, &refused), CLIENTS_TOO_MANY);
    assert_null(refused);
    assert_true(refusal.say);
    assert_int_equal(enter("2001:db8:0:1::1", &l, &b), CLIENTS_IN);
    assert_int_equal(enter("192.0.2.1", &l, NULL), CLIENTS_FULL);
    assert_int_equal(clients_total(table), 3);
    clients_leave(table, a1, 0, now);
    assert_int_equal(enter("2001:db8::3", &l, &a1), CLIENTS_IN);
    clients_leave(table, a1, 0, now);
    clients_leave(table, a2, 0, now);
    clients_leave(table, b, 0, now);
    assert_int_equal(clients_total(table), 0);
}

/* A refusal is worth one line a minute for each client: a flood must not fill the disk with them.
 */
static void refusals_are_told_once_a_minute(void **state)
{
    (void)state;
    const struct clients_limits l = {.rate = 1, .rate_ms = 3600 * 1000};
    assert_int_equal(enter("192.0.2.1", &l, NULL), CLIENTS_IN);
    unsigned said = 0;
    for (unsigned i = 0; i < 1200; i++, now.ms += 100) {
        assert_int_equal(enter("192.0.2.1", &l, NULL), CLIENTS_TOO_FAST);
        said += refusal.say;
    }
    assert_int_equal(said, 2);
}

/* As many as the rate at once, then one for each part of the period, and never more in it. */
static void connection_rate(void **state)
{
    (void)state;
    const struct clients_limits l = {.rate = 60, .rate_ms = MINUTE};
    unsigned in = 0;
    for (unsigned i = 0; i < 100; i++)
        in += enter("192.0.2.1", &l, NULL) == CLIENTS_IN;
    assert_int_equal(in, 60);
    assert_int_equal(enter("192.0.2.2", &l, NULL), CLIENTS_IN); /* others are not meant */
    now.ms += 999;
    assert_int_equal(enter("192.0.2.1", &l, NULL), CLIENTS_TOO_FAST);
    now.ms += 1;
    assert_int_equal(enter("192.0.2.1", &l, NULL), CLIENTS_IN);
    assert_int_equal(enter("192.0.2.1", &l, NULL), CLIENTS_TOO_FAST);
    for (in = 0; in < 30; in++, now.ms += 1000)
        if (enter("192.0.2.1", &l, NULL) == CLIENTS_IN)
            continue;
    now.ms += 10 * MINUTE; /* what is saved is one period, however long it was quiet */
    for (in = 0; enter("192.0.2.1", &l, NULL) == CLIENTS_IN;)
        in++;
    assert_int_equal(in, 60);
    const struct clients_limits exempt = {.rate = 60, .rate_ms = MINUTE, .exempt = true};
    assert_int_equal(enter("192.0.2.1", &exempt, NULL), CLIENTS_IN);
}

static void guessing_gets_slower_and_ends(void **state)
{
    (void)state;
    static const int64_t delays[] = {0, 1000, 2000, 4000, 8000, 8000, 8000, 8000, 8000};
    for (unsigned i = 0; i < sizeof delays / sizeof *delays; i++) {
        const struct clients_failure f = fail_login(i % 2 ? "2001:db8::1" : "2001:db8::2", 10);
        assert_int_equal(f.failures, i + 1);
        assert_int_equal(f.delay_ms, delays[i]);
        assert_false(f.banned);
    }
    assert_true(fail_login("2001:db8::3", 10).banned);
    const struct clients_key k = key("2001:db8::9");
    assert_true(clients_is_banned(table, &k, now));
    assert_int_equal(enter("2001:db8::4", &free_for_all, NULL), CLIENTS_BANNED);
    assert_string_equal(refusal.reason, "10 failed logins");
    assert_int_equal(refusal.left_ms, 15 * MINUTE);
    const struct clients_limits exempt = {.exempt = true};
    assert_int_equal(enter("2001:db8::4", &exempt, NULL), CLIENTS_IN);
    assert_int_equal(enter("2001:db8:0:1::", &free_for_all, NULL), CLIENTS_IN);
    now.ms += 15 * MINUTE - 1;
    assert_int_equal(enter("2001:db8::4", &free_for_all, NULL), CLIENTS_BANNED);
    now.ms += 1;
    assert_int_equal(enter("2001:db8::4", &free_for_all, NULL), CLIENTS_IN);
    assert_false(fail_login("2001:db8::3", 10).banned); /* and begins at the beginning */
}

/* Twenty sessions that guess at the same moment have no more guesses than one. */
static void guesses_in_parallel_are_counted_together(void **state)
{
    (void)state;
    unsigned banned = 0;
    for (unsigned i = 0; i < 20; i++)
        banned += fail_login("192.0.2.1", 20).banned;
    assert_int_equal(banned, 1);
    const struct clients_key k = key("192.0.2.1");
    assert_true(clients_is_banned(table, &k, now));
    for (unsigned i = 0; i < 500; i++) { /* those that were on their way count for nothing */
        const struct clients_failure f = fail_login("192.0.2.1", 20);
        assert_true(f.late && !f.banned);
    }
    now.ms += 15 * MINUTE;
    assert_int_equal(fail_login("192.0.2.1", 20).failures, 1);
}

static void success_forgives(void **state)
{
    (void)state;
    const struct clients_key k = key("192.0.2.1");
    for (unsigned i = 0; i < 9; i++)
        fail_login("192.0.2.1", 10);
    clients_auth_ok(table, &k, NAME + 1); /* another's account is no licence to guess on */
    assert_int_equal(fail_login("192.0.2.1", 100).failures, 10);
    clients_auth_ok(table, &k, NAME);
    const struct clients_failure f = fail_login("192.0.2.1", 10);
    assert_int_equal(f.failures, 1);
    assert_int_equal(f.delay_ms, 0);
    now.ms += CLIENTS_FORGET_MS; /* so does time */
    assert_int_equal(fail_login("192.0.2.1", 10).failures, 1);
}

/* A program with an old password waits for longer and longer, and bans nobody. */
static void an_old_password_is_no_guess(void **state)
{
    (void)state;
    const struct clients_key k = key("192.0.2.1");
    const struct clients_rules rules = {.failures = 3, .ban_ms = MINUTE};
    const struct guess old = {.name = NAME, .credential = UINT64_MAX};
    assert_false(clients_has_failed(table, &k, UINT64_MAX));
    for (unsigned i = 0; i < 1000; i++) {
        const struct clients_failure f = clients_auth_failed(table, &k, &rules, old, now);
        assert_false(f.banned);
        assert_int_equal(f.failures, 1);
        assert_int_equal(f.delay_ms, i < 1 ? 0 : i < 4 ? 1000 << (i - 1) : 8000);
    }
    assert_true(clients_has_failed(table, &k, UINT64_MAX));
    assert_false(fail_login("192.0.2.1", 3).banned);
    assert_true(fail_login("192.0.2.1", 3).banned);
    assert_false(clients_has_failed(table, &k, UINT64_MAX));
}

static void no_ban_where_none_is_wanted(void **state)
{
    (void)state;
    const struct clients_key k = key("192.0.2.1");
    const struct clients_rules exempt = {.failures = 3, .ban_ms = MINUTE, .exempt = true};
    for (unsigned i = 0; i < 1000; i++) {
        assert_false(fail_login("192.0.2.1", 0).banned);
        const struct clients_failure f = clients_auth_failed(table, &k, &exempt, next_guess(), now);
        assert_false(f.banned);
        assert_true(f.delay_ms <= 8000);
    }
    assert_false(clients_is_banned(table, &k, now));
}

static void operators_ban_and_lift(void **state)
{
    (void)state;
    const struct clients_key k = key("2001:db8::/64");
    struct clients_row rows[8];
    assert_false(clients_allow(table, &k, now));
    clients_ban(table, &k, 60 * MINUTE, SLICE_LIT("crawls"), now);
    assert_int_equal(enter("2001:db8::77", &free_for_all, NULL), CLIENTS_BANNED);
    assert_string_equal(refusal.reason, "crawls");
    clients_ban(table, &k, MINUTE, SLICE_LIT("less"), now);
    assert_int_equal(all_rows(rows, 8, 3), 1);
    assert_int_equal(rows[0].banned_ms, MINUTE);
    assert_string_equal(rows[0].reason, "less");
    assert_int_equal(rows[0].lately, 1);
    assert_true(clients_allow(table, &k, now));
    assert_false(clients_allow(table, &k, now));
    assert_int_equal(enter("2001:db8::77", &free_for_all, NULL), CLIENTS_IN);
    assert_int_equal(all_rows(rows, 8, 3), 1);
    assert_int_equal(rows[0].open, 1);
    assert_int_equal(rows[0].banned_ms, 0);
    assert_string_equal(rows[0].reason, "");
}

static const char *address(unsigned i)
{
    static char text[64];
    snprintf(text, sizeof text, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
    return text;
}

/* Whatever comes, the table holds so many; who is banned is the last to go, and who is connected
 * never goes (promise 15). */
static void memory_is_bounded(void **state)
{
    (void)state;
    struct client *stays;
    struct clients_row rows[4];
    const struct clients_key banned = key("192.0.2.66"), failed = key("192.0.2.67");
    assert_int_equal(enter("192.0.2.68", &free_for_all, &stays), CLIENTS_IN);
    assert_int_equal(fail_login("192.0.2.67", 10).failures, 1);
    clients_ban(table, &banned, 24 * 60 * MINUTE, SLICE_LIT("x"), now);
    for (unsigned i = 0; i < 3 * CLIENTS_IDLE_MAX; i++)
        come_and_go(address(i));
    assert_int_equal(fail_login("192.0.2.67", 10).failures, 2);
    for (unsigned i = 0; i < 2 * CLIENTS_IDLE_MAX; i++)
        fail_login(address(i), 10);
    assert_int_equal(all_rows(rows, 4, 64), CLIENTS_IDLE_MAX + 1); /* all of them failed now */
    assert_true(clients_is_banned(table, &banned, now));
    const struct clients_rules rules = {.failures = 10};
    assert_int_equal(clients_auth_failed(table, &failed, &rules, next_guess(), now).failures,
                     1); /* was the oldest */
    clients_leave(table, stays, 0, now);
    now.ms += CLIENTS_FORGET_MS; /* and then it shrinks again, as clients come */
    for (unsigned i = 0; i < CLIENTS_IDLE_MAX; i++)
        come_and_go("192.0.2.1");
    assert_int_equal(all_rows(rows, 4, 64), 1);
    assert_true(clients_is_banned(table, &banned, now));
}

/* A page is bounded, and what is there throughout comes once, though the table changes meanwhile.
 */
static void pages(void **state)
{
    (void)state;
    struct client *open[300], *more[300];
    bool seen[300] = {0};
    size_t at = 0, got;
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(enter(address(i), &free_for_all, &open[i]), CLIENTS_IN);
    unsigned page = 0;
    for (bool go_on = true; go_on; page++) {
        struct clients_row rows[7];
        go_on = clients_page(table, &at, rows, 7, &got, now);
        for (size_t i = 0; i < got; i++) {
            const unsigned n = rows[i].key.bytes[2] * 256u + rows[i].key.bytes[3];
            if (rows[i].key.bytes[1] == 1)
                continue; /* came while we looked */
            assert_true(n < 300 && !seen[n]);
            seen[n] = true;
        }
        assert_int_equal(enter(address(65536 + page), &free_for_all, &more[page]), CLIENTS_IN);
        if (page % 2)
            clients_leave(table, more[page - 1], 0, now);
        assert_true(page < 299);
    }
    for (unsigned i = 0; i < 300; i++)
        assert_true(seen[i]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(who_is_one_client),
        T(limits_of_open_connections),
        T(refusals_are_told_once_a_minute),
        T(connection_rate),
        T(guessing_gets_slower_and_ends),
        T(guesses_in_parallel_are_counted_together),
        T(success_forgives),
        T(an_old_password_is_no_guess),
        T(no_ban_where_none_is_wanted),
        T(operators_ban_and_lift),
        T(memory_is_bounded),
        T(pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
