/* The verbs over a real socket. If this breaks, a long listing takes the relay's memory, or a
 * script gets other rows than it asked for. */
#include "relay/base/metrics.h"
#include "tests/unit/admin/world.h"

static void test_limit_and_cursor(void **state)
{
    (void)state;
    FILE *f = call();
    char place[64] = "", line[256];
    uint64_t seen = 0;
    for (int page = 0; page < 400; page++) { /* 7 is odd: pages end within a message */
        snprintf(line, sizeof line,
                 "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":7%s%s%s}}",
                 place[0] ? ",\"after\":\"" : "", place, place[0] ? "\"" : "");
        say(f, line);
        struct answer a = hear(f);
        assert_true(a.ok);
        assert_int_equal(a.rows, 7);
        assert_int_equal(number(a.first_row, "rcpt"), seen % 2);
        uint64_t id = 0;
        assert_true(queue_id_parse(slice_str(string(a.first_row, "queue_id")), &id));
        assert_int_equal(id, seen / 2 + 1);
        seen += 7;
        snprintf(place, sizeof place, "%s", string(a.last, "next"));
        answer_done(&a);
    }
    fclose(f);
}

static void test_count_and_all_rows(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"count\":true}}");
    struct answer a = hear(f);
    assert_int_equal(number(a.last, "matched"), 2 * MESSAGES);
    assert_int_equal(a.rows, 0);
    assert_null(json_object_get(a.last, "next"));
    answer_done(&a);
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":25000}}");
    a = hear(f);
    assert_int_equal(a.rows, 25000);
    answer_done(&a);
    fclose(f);
}

/* Of each listing's step, as it was asked. */
static atomic_uint asked_rows[8], n_asked;
static _Atomic(struct spooler_admin *) second_page;

static bool note_page(struct spooler_admin *a)
{
    if (a->verb == ADMIN_LIST)
        atomic_store(&asked_rows[atomic_fetch_add(&n_asked, 1) % 8], a->page_rows);
    return false;
}

static bool keep_second_page(struct spooler_admin *a)
{
    note_page(a);
    if (a->verb != ADMIN_LIST || atomic_load(&n_asked) != 2)
        return false;
    atomic_store(&second_page, a);
    return true;
}

/* Who may still read is given all of it, though it has said that it asks for nothing more; first in
 * small pages, then in whole ones. */
static void test_pages_grow(void **state)
{
    (void)state;
    FILE *f = call();
    atomic_store(&n_asked, 0);
    atomic_store(&play_keep, note_page);
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":1500}}");
    shutdown(fileno(f), SHUT_WR);
    struct answer a = hear(f);
    assert_true(a.ok);
    assert_int_equal(a.rows, 1500);
    answer_done(&a);
    fclose(f);
    atomic_store(&play_keep, NULL);
    assert_true(atomic_load(&n_asked) >= 4 && atomic_load(&n_asked) <= 8);
    assert_int_equal(atomic_load(&asked_rows[0]), 32);
    assert_int_equal(atomic_load(&asked_rows[1]), 128);
    for (unsigned i = 2; i < atomic_load(&n_asked); i++)
        assert_true(atomic_load(&asked_rows[i]) >= PAGE_ROWS);
}

/* `| head -1`: 32 rows are made for the first one, and who has gone is asked no further page for.
 */
static void test_cut_off_after_the_first_row(void **state)
{
    (void)state;
    FILE *f = call(), *other = call();
    struct spooler_admin *a;
    atomic_store(&n_asked, 0);
    atomic_store(&play_keep, keep_second_page);
    say(f, "{\"id\":1,\"verb\":\"queue.list\"}");
    json_t *o = read_object(f);
    assert_non_null(json_object_get(o, "row"));
    json_decref(o);
    for (int i = 0; i < 6000 && !atomic_load(&second_page); i++)
        usleep(10000);
    a = atomic_exchange(&second_page, NULL);
    assert_non_null(a);
    assert_int_equal(a->rows_given, 32);
    fclose(f);
    on_request(&spooler, &a->msg); /* keep_second_page lets it pass … */
    for (int i = 0; i < 2; i++) {  /* … and what it leads to comes before these */
        say(other, "{\"id\":1,\"verb\":\"status\"}");
        struct answer status = hear(other);
        assert_true(status.ok);
        answer_done(&status);
    }
    atomic_store(&play_keep, NULL);
    assert_int_equal(atomic_load(&n_asked), 3); /* the second one twice: kept, and let go */
    fclose(other);
}

/* A client that asks for two million rows and does not read them: pages are not even asked for.
 * Others are served meanwhile. */
static void test_slow_reader(void **state)
{
    (void)state;
    FILE *slow = call(), *other = call();
    unsigned before = atomic_load(&spooler.pages);
    say(slow, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{}}");
    usleep(500000);
    say(other, "{\"id\":2,\"verb\":\"status\",\"args\":{}}");
    struct answer a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    assert_true(atomic_load(&spooler.pages) - before < 20);
    fclose(slow); /* and goes away in the middle */
    say(other, "{\"id\":3,\"verb\":\"status\"}");
    a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    fclose(other);
}

/* At most one word of progress in each second since then. */
static void expect_no_more_than_one_a_second(uint64_t progress, struct mono since)
{
    assert_true(progress <= (uint64_t)(mono_now().ms - since.ms) / 1000);
}

/* Who does not read is told no more that we are at work: it would pile up here for as long as its
 * terminal stands still, until there is no room and no relay. */
static void test_no_progress_to_who_does_not_read(void **state)
{
    (void)state;
    enum { ROWS = 1100 }; /* more than the kernel holds, less than PEER_UNSENT_MAX of it here */
    FILE *f = call(), *other = call();
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":1100}}");
    say(f, "{\"id\":2,\"verb\":\"explain\",\"args\":{\"address\":\"slow@b.test\"}}");
    while (!atomic_load(&slow_answer))
        usleep(1000);
    usleep(3300000);
    const struct mono reads = mono_now();
    struct answer a = hear(f);
    assert_int_equal(a.rows, ROWS);
    answer_done(&a);
    json_t *first = read_object(f); /* it reads: now it is told again */
    assert_non_null(json_object_get(first, "progress"));
    json_decref(first);
    const struct lines *l = atomic_load(&slow_answer);
    port_send(atomic_load(&slow_reply), (struct msg *)(uintptr_t)&l->msg);
    a = hear(f);
    assert_true(a.ok);
    /* With the one above: one at once, and one each second that the reading took. */
    assert_true(a.progress <= (uint64_t)(mono_now().ms - reads.ms) / 1000 + 1);
    answer_done(&a);
    atomic_store(&slow_answer, NULL);
    say(other, "{\"id\":3,\"verb\":\"status\"}");
    a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    fclose(other);
    fclose(f);
}

/* A long list of suspensions waits for its reader like any other. */
static void test_many_suspensions(void **state)
{
    (void)state;
    atomic_store(&many_suspended, true);
    FILE *f = call();
    const unsigned before = atomic_load(&suspended_asked);
    say(f, "{\"id\":1,\"verb\":\"destination.list\"}");
    usleep(300000);
    const unsigned asked = atomic_load(&suspended_asked) - before;
    struct answer a = hear(f);
    atomic_store(&many_suspended, false);
    assert_true(a.ok);
    assert_int_equal(a.rows, SUSPENSIONS + 1); /* and the site */
    assert_int_equal(number(a.last, "matched"), SUSPENSIONS + 1);
    assert_true(asked < SUSPENSIONS + SUSPENSIONS / 2); /* the site's own look goes through all */
    answer_done(&a);
    fclose(f);
}

static void test_status(void **state)
{
    (void)state;
    FILE *f = call();
    atomic_store(&spooler.full, true);
    say(f, "{\"id\":2,\"verb\":\"status\",\"args\":{}}");
    struct answer a = hear(f);
    atomic_store(&spooler.full, false);
    assert_int_equal(a.rows, 1);
    assert_string_equal(string(a.first_row, "site"), "mx.example");
    assert_string_equal(string(a.last, "version"), PW_VERSION);
    assert_string_equal(string(a.last, "hostname"), "relay.example");
    assert_int_equal(number(a.last, "messages"), MESSAGES);
    static const char *const keys[] = {
        "uptime_seconds", "recipients",     "ready",         "waiting",        "held",
        "active",         "oldest_seconds", "sessions",      "accepted_total", "delivered_total",
        "deferred_total", "bounced_total",  "expired_total", "live_bytes",     "disk_bytes",
        "last_seq",       "log_seq"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_true(number(a.last, keys[i]) >= 0);
    assert_true(json_is_false(json_object_get(a.last, "accepting")));
    const json_t *warnings = json_object_get(a.last, "warnings");
    assert_int_equal(json_array_size(warnings), 5); /* the dead site comes last */
    assert_string_equal(json_string_value(json_array_get(warnings, 0)),
                        "spool cannot be written: syncing the spool failed: Disk quota since "
                        "2027-01-15T08:00:00.000000Z; deliveries wait");
    assert_string_equal(json_string_value(json_array_get(warnings, 1)),
                        "less room than spool.min-free: new mail is answered 452");
    assert_string_equal(json_string_value(json_array_get(warnings, 2)), "the house is on fire");
    assert_string_equal(json_string_value(json_array_get(warnings, 3)),
                        "certificate /etc/soon.pem expires in 3 days: renew it");
    answer_done(&a);
    say(f, "{\"id\":2,\"verb\":\"queue.summary\",\"args\":{}}");
    a = hear(f);
    assert_int_equal(a.rows, 1);
    assert_non_null(json_object_get(a.last, "age"));
    assert_non_null(json_object_get(a.last, "errors"));
    assert_int_equal(json_array_size(json_object_get(a.last, "warnings")), 0);
    answer_done(&a);
    fclose(f);
}

/* True: this status has the warning, and all of its words. */
static bool warns_of_places(FILE *f, const char *words)
{
    bool found = false;
    size_t i;
    const json_t *one;
    say(f, "{\"id\":2,\"verb\":\"status\",\"args\":{}}");
    struct answer a = hear(f);
    assert_null(json_object_get(a.last, "waited_rate"));
    json_array_foreach(json_object_get(a.last, "warnings"), i, one) found =
        found || strstr(json_string_value(one), words);
    answer_done(&a);
    return found;
}

/* One that waits, and then one that has waited, is told; who looks learns what to raise. */
static void test_places(void **state)
{
    (void)state;
    FILE *f = call();
    assert_false(warns_of_places(f, "have waited for a socket"));
    metric_add(M_SOCKETS_OUT, 7);
    metric_add(M_SOCKETS_OUT_MOST, 8);
    metric_add(M_WAITING_OUT, 1);
    assert_true(warns_of_places(
        f, "connections to receivers have waited for a socket within 15 minutes (now 1; 7 sockets "
           "of at most 8 are in use): raise the limit of open files (LimitNOFILE=, RLIMIT_NOFILE), "
           "or allow fewer connections"));
    metric_add(M_WAITING_OUT, -1);
    assert_false(warns_of_places(f, "have waited for a socket"));
    metric_add(M_WAITED_OUT, 1);
    for (int i = 0; i < 200 && !warns_of_places(f, "(now 0; 7 sockets of at most 8"); i++)
        usleep(100000); /* a second after the start it is known that it is new */
    assert_true(warns_of_places(f, "have waited for a socket"));
    metric_add(M_WAITED_OUT, -1);
    metric_add(M_SOCKETS_OUT, -7);
    metric_add(M_SOCKETS_OUT_MOST, -8);
    assert_false(warns_of_places(f, "have waited for a socket"));
    fclose(f);
}

static void test_changes(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"to\":\"*\"},\"reason\":"
           "\"asked to\"}}");
    struct answer a = hear(f);
    assert_int_equal(a.rows, 0);
    assert_int_equal(number(a.last, "matched"), 50);
    assert_int_equal(number(a.last, "changed"), 45);
    assert_int_equal(number(a.last, "skipped"), 5);
    assert_int_equal(number(a.last, "failed"), 0);
    pthread_mutex_lock(&spooler.lock);
    assert_string_equal(spooler.reason, "asked to");
    assert_true(spooler.actor[0]);
    assert_string_not_equal(spooler.actor, "unknown");
    pthread_mutex_unlock(&spooler.lock);
    answer_done(&a);
    say(f, "{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true,\"dry_run\":true}}");
    a = hear(f);
    assert_int_equal(a.rows, SAMPLE_ROWS);
    assert_int_equal(number(a.last, "matched"), 50);
    assert_int_equal(number(a.last, "changed"), 0);
    answer_done(&a);
    fclose(f);
}

/* Mail is not sent to a destination that nobody has configured. */
static void test_redirect(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.redirect\",\"args\":{\"all\":true,\"destination\":"
           "\"nowhere\"}}");
    struct answer a = hear(f);
    assert_false(a.ok);
    assert_string_equal(string(a.last, "code"), "usage");
    answer_done(&a);
    static const char *const good[] = {"backup", ""};
    for (size_t i = 0; i < 2; i++) {
        char line[200];
        snprintf(
            line, sizeof line,
            "{\"id\":1,\"verb\":\"queue.redirect\",\"args\":{\"all\":true,\"destination\":\"%s\"}}",
            good[i]);
        say(f, line);
        a = hear(f);
        assert_true(a.ok);
        assert_int_equal(number(a.last, "changed"), 45);
        assert_int_equal(number(a.last, "in_flight"), 0);
        answer_done(&a);
    }
    fclose(f);
}

/* Who waits hears that the relay is at work, well before he would give up. */
static void test_progress(void **state)
{
    (void)state;
    FILE *f = call();
    struct mono begun = mono_now();
    say(f, "{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true,\"reason\":\"slowly\"}}");
    struct answer a = hear(f);
    assert_true(a.ok);
    assert_true(a.progress >= 1); /* five pages of 0.4 s */
    expect_no_more_than_one_a_second(a.progress, begun);
    assert_int_equal(number(a.last, "changed"), 45);
    answer_done(&a);
    begun = mono_now();
    say(f, "{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true}}");
    a = hear(f);
    expect_no_more_than_one_a_second(a.progress, begun); /* nothing about what is quick */
    answer_done(&a);
    fclose(f);
}

/* Sorting keeps what it sorts in memory: it is told what is too much. */
static void test_sorted(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"sort\":\"due\"}}");
    struct answer a = hear(f);
    assert_false(a.ok);
    assert_string_equal(string(a.last, "code"), "usage");
    assert_non_null(strstr(string(a.last, "message"), "limit"));
    answer_done(&a);
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"sort\":\"due\",\"limit\":9}}");
    a = hear(f);
    assert_true(a.ok);
    assert_int_equal(a.rows, 9);
    answer_done(&a);
    fclose(f);
}

static size_t decode(const struct buf *b64, uint8_t *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    for (size_t i = 0; i + 3 < b64->n; i += 4) {
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            const char *d = b64->p[i + k] == '=' ? digits : strchr(digits, b64->p[i + k]);
            v = v << 6 | (uint32_t)(d - digits);
        }
        for (size_t k = 0; k < 3; k++)
            if (k == 0 || b64->p[i + k + 1] != '=')
                out[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    return n;
}

static void test_content(void **state)
{
    (void)state;
    static uint8_t got[CONTENT_SIZE + 16];
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"0000000000005\"}}");
    struct answer a = hear(f);
    assert_true(a.ok);
    assert_int_equal(a.rows, 4);
    assert_int_equal(number(a.last, "size"), CONTENT_SIZE);
    assert_int_equal(decode(&a.data, got), CONTENT_SIZE);
    for (uint64_t i = 0; i < CONTENT_SIZE; i++)
        assert_true(got[i] == content_at(i));
    answer_done(&a);
    say(f,
        "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"0000000000005\",\"headers\":true}}");
    a = hear(f);
    assert_int_equal(number(a.last, "size"), 8);
    assert_int_equal(decode(&a.data, got), 8);
    answer_done(&a);
    char line[128], id[QUEUE_ID_SIZE];
    queue_id_write(666, id);
    snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"%s\"}}", id);
    say(f, line);
    a = hear(f);
    assert_false(a.ok);
    assert_string_equal(string(a.last, "code"), "failed");
    answer_done(&a);
    fclose(f);
}

static void test_show(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"0000000000005\"}}");
    struct answer a = hear(f);
    assert_int_equal(a.rows, 2);
    assert_string_equal(string(a.last, "sender"), "a@example.com");
    assert_int_equal(number(a.last, "size"), CONTENT_SIZE);
    answer_done(&a);
    say(f, "{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"00000000000ZZ\"}}\n"
           "{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"ZZZZZZZZZZZZ\"}}");
    for (int i = 0; i < 2; i++) {
        a = hear(f);
        if (i == 1)
            assert_string_equal(string(a.last, "code"), "usage");
        answer_done(&a);
    }
    char line[128], id[QUEUE_ID_SIZE];
    queue_id_write(MESSAGES + 5, id);
    snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"%s\"}}", id);
    say(f, line);
    a = hear(f);
    assert_string_equal(string(a.last, "code"), "not-found");
    answer_done(&a);
    fclose(f);
}

/* However many clients there are, a reader that is slow costs a page; bans end. */
static void test_clients(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"client.list\"}");
    usleep(100000);
    struct answer a = hear(f);
    assert_true(a.ok);
    assert_int_equal(a.rows, CLIENTS);
    assert_int_equal(number(a.last, "matched"), CLIENTS);
    assert_string_equal(string(a.first_row, "client"), "10.0.0.0");
    assert_int_equal(number(a.first_row, "connections"), 3);
    assert_int_equal(number(a.first_row, "per_minute"), 70);
    assert_int_equal(number(a.first_row, "failures"), 2);
    assert_null(json_object_get(a.first_row, "banned_until"));
    answer_done(&a);
    static const struct {
        const char *args, *code; /* NULL: done */
    } cases[] = {
        {"ban\",\"args\":{\"address\":\"192.0.2.1\"}", NULL},
        {"ban\",\"args\":{\"address\":\"192.0.2.1\",\"for_s\":60,\"reason\":\"x y\"}", NULL},
        {"ban\",\"args\":{\"address\":\"192.0.2.0/24\"}", "usage"},
        {"ban\",\"args\":{\"address\":\"192.0.2.1\",\"for_s\":99999999999}", "usage"},
        {"ban\",\"args\":{}", "usage"},
        {"allow\",\"args\":{\"address\":\"192.0.2.1\"}", NULL},
        {"allow\",\"args\":{\"address\":\"192.0.2.2\"}", "not-found"},
        {"allow\",\"args\":{\"address\":\"192.0.2.1\",\"reason\":\"x\"}", "usage"},
    };
    static const char *const bans[] = {"3600  1", "60 x y 1"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[200];
        snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"client.%s}", cases[i].args);
        say(f, line);
        a = hear(f);
        assert_int_equal(a.ok, !cases[i].code);
        if (cases[i].code)
            assert_string_equal(string(a.last, "code"), cases[i].code);
        if (i < 2) {
            char seen[400];
            ban_seen(seen);
            assert_string_equal(seen, bans[i]);
            assert_non_null(json_object_get(a.last, "banned_until"));
        }
        answer_done(&a);
    }
    fclose(f);
}

static void test_orders(void **state)
{
    (void)state;
    static const char *const lines[] = {"reload", "reload", "drain", "log.reopen", "stop"};
    FILE *f = call();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[128];
        snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"%s\",\"args\":{}}", lines[i]);
        say(f, line);
        struct answer a = hear(f);
        assert_int_equal(a.ok, i != 1);
        if (i == 1)
            assert_non_null(strstr(string(a.last, "message"), "postwain.conf:7"));
        answer_done(&a);
    }
    for (int i = 0; i < 6000 && atomic_load(&stops) == 0; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&drains), 1);
    say(f, "{\"id\":9,\"verb\":\"status\"}"); /* and it shows */
    struct answer a = hear(f);
    assert_true(json_is_false(json_object_get(a.last, "accepting")));
    answer_done(&a);
    assert_int_equal(atomic_load(&stops), 1);
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_and_cursor),
        cmocka_unit_test(test_count_and_all_rows),
        cmocka_unit_test(test_pages_grow),
        cmocka_unit_test(test_cut_off_after_the_first_row),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_no_progress_to_who_does_not_read),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_many_suspensions),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_sorted),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_clients),
        cmocka_unit_test(test_orders),
    };
    return run_with_admin(tests, sizeof tests / sizeof *tests);
}
