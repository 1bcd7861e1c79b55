/* Clients that misbehave, and the socket's own life. If this breaks, one client's nonsense reaches
 * another, or a second start takes over a living relay's socket. */
#include "tests/unit/admin/world.h"

/* Many requests in one write, also byte by byte: each is answered, in order. */
static void test_pipelined(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf lines = BUF_MAX(1 << 20);
    for (unsigned i = 0; i < 200; i++)
        buf_addf(&lines, "{\"id\":%u,\"verb\":\"%s\"}\r\n\n", i, i % 3 ? "status" : "nonsense");
    for (int slow = 0; slow < 2; slow++) {
        int fd = call_raw();
        for (size_t at = 0; at < lines.n;) {
            size_t n = slow ? 7 : lines.n;
            ssize_t sent = send(fd, lines.p + at, n < lines.n - at ? n : lines.n - at, 0);
            assert_true(sent > 0);
            at += (size_t)sent;
        }
        shutdown(fd, SHUT_WR); /* the answers come all the same */
        FILE *f = fdopen(fd, "r");
        json_decref(read_object(f));
        for (unsigned i = 0; i < 200;) {
            json_t *o = read_object(f);
            assert_non_null(o);
            assert_int_equal(number(o, "id"), i);
            assert_int_equal(json_object_get(o, "error") != NULL, i % 3 == 0);
            i += json_object_get(o, "row") == NULL;
            json_decref(o);
        }
        assert_null(read_object(f));
        fclose(f);
    }
}

/* What is no request ends that peer, with a word; others do not notice. */
static void test_nonsense(void **state)
{
    (void)state;
    static const char *const rows[] = {"GET / HTTP/1.1\r\n\r\n", "{}\n",
                                       "{\"id\":1,\"verb\":\"status\"", NULL};
    FILE *other = call();
    for (size_t i = 0; i < 4; i++) {
        int fd = call_raw();
        FILE *f = fdopen(fd, "r");
        json_decref(read_object(f));
        if (rows[i]) {
            assert_int_equal(send(fd, rows[i], strlen(rows[i]), MSG_NOSIGNAL), strlen(rows[i]));
        } else { /* a line without an end */
            static char endless[REQUEST_LINE_MAX + 100];
            memset(endless, ' ', sizeof endless);
            for (size_t at = 0; at < sizeof endless;) {
                ssize_t n = send(fd, endless + at, sizeof endless - at, MSG_NOSIGNAL);
                if (n <= 0)
                    break;
                at += (size_t)n;
            }
        }
        if (i == 2) { /* half a request, then gone: nothing to say */
            shutdown(fd, SHUT_WR);
            assert_null(read_object(f));
        } else {
            json_t *o = read_object(f);
            assert_non_null(json_object_get(o, "error"));
            json_decref(o);
            assert_null(read_object(f));
        }
        fclose(f);
    }
    say(other, "{\"id\":1,\"verb\":\"status\"}");
    struct answer a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    fclose(other);
}

/* A megabyte of short bad requests without reading: answers are bounded as well. */
static void test_flood(void **state)
{
    (void)state;
    int fd = call_raw();
    for (unsigned i = 0; i < 100000; i++)
        if (send(fd, "{\"id\":1,\"verb\":\"x\"}\n", 20, MSG_NOSIGNAL | MSG_DONTWAIT) != 20)
            break;
    usleep(200000);
    close(fd);
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"status\"}");
    struct answer a = hear(f);
    assert_true(a.ok);
    answer_done(&a);
    fclose(f);
}

/* Those who have gone are noticed in a while, not at once. */
static void wait_for_room(void)
{
    for (int i = 0; i < 3000; i++, usleep(20000)) {
        FILE *f = call();
        fputs("{\"id\":1,\"verb\":\"log.reopen\"}\n", f);
        fflush(f);
        json_t *o = read_object(f);
        bool taken = o && json_object_get(o, "done");
        json_decref(o);
        fclose(f);
        if (taken)
            return;
    }
    fail_msg("the places of closed connections stay taken");
}

static void test_too_many_peers(void **state)
{
    (void)state;
    FILE *f[ADMIN_PEERS_MAX];
    for (size_t i = 0; i < ADMIN_PEERS_MAX; i++)
        f[i] = call();
    FILE *more = call();
    json_t *o = read_object(more);
    assert_string_equal(string(json_object_get(o, "error"), "code"), "busy");
    json_decref(o);
    assert_null(read_object(more));
    fclose(more);
    for (size_t i = 0; i < ADMIN_PEERS_MAX; i++)
        fclose(f[i]);
    wait_for_room();
}

static void ask_status(FILE *f)
{
    say(f, "{\"id\":1,\"verb\":\"status\"}");
    struct answer a = hear(f);
    assert_true(a.ok);
    answer_done(&a);
}

/* Connections that nobody uses any more do not lock an operator out: the one that was silent for
 * longest goes, and nobody who was not. */
static void test_the_silent_make_room(void **state)
{
    (void)state;
    FILE *f[ADMIN_PEERS_MAX];
    f[0] = call();
    usleep(50000);
    for (size_t i = 1; i < ADMIN_PEERS_MAX; i++)
        f[i] = call();
    ask_status(f[0]); /* not the one that came first, then */
    usleep((PEER_QUIET_MS + 500) * 1000);
    for (size_t i = 2; i < ADMIN_PEERS_MAX; i++)
        ask_status(f[i]);
    FILE *first = call(), *second = call(), *third = call();
    ask_status(first);
    ask_status(second);
    json_t *o = read_object(f[1]);
    assert_string_equal(string(json_object_get(o, "error"), "code"), "busy");
    json_decref(o);
    assert_null(read_object(f[1]));
    o = read_object(f[0]);
    assert_string_equal(string(json_object_get(o, "error"), "code"), "busy");
    json_decref(o);
    o = read_object(third); /* all others have just been heard */
    assert_string_equal(string(json_object_get(o, "error"), "code"), "busy");
    json_decref(o);
    for (size_t i = 2; i < ADMIN_PEERS_MAX; i++)
        ask_status(f[i]);
    fclose(first);
    fclose(second);
    fclose(third);
    for (size_t i = 0; i < ADMIN_PEERS_MAX; i++)
        fclose(f[i]);
    wait_for_room();
}

/* One socket, one relay. */
static void test_second_start(void **state)
{
    (void)state;
    struct admin *second = NULL;
    struct err e = {0};
    struct stat st;
    assert_true(admin_new(&second, &conf, &spooler, events, &hooks, &e) < 0);
    assert_int_equal(e.code, -EADDRINUSE);
    assert_null(second);
    FILE *f = call(); /* the first one still has its socket */
    fclose(f);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
}

/* After kill -9 the socket is still there, and in nobody's way; a file that is no socket is not
 * touched. */
static void test_stale_socket(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf stale = BUF_MAX(256);
    struct admin *a = NULL;
    struct err e = {0};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    buf_addf(&stale, "%s/deep/er/sock", folder);
    struct conf c = {.control_socket = buf_str(&stale), .hostname = "relay.example"};
    assert_int_equal(admin_new(&a, &c, &spooler, events, &hooks, &e), 0); /* folders are made */
    admin_free(a);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", buf_str(&stale));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    assert_int_equal(admin_new(&a, &c, &spooler, events, &hooks, &e), 0);
    admin_free(a);
    fclose(fopen(buf_str(&stale), "w"));
    assert_true(admin_new(&a, &c, &spooler, events, &hooks, &e) < 0);
    assert_int_equal(access(buf_str(&stale), F_OK), 0);
    static char endless[300];
    memset(endless, 'x', sizeof endless - 1);
    endless[0] = '/';
    c.control_socket = endless;
    assert_true(admin_new(&a, &c, &spooler, events, &hooks, &e) < 0);
}

/* The end comes while listings run. */
static void test_end_in_the_middle(void **state)
{
    FILE *f[8];
    for (size_t i = 0; i < 8; i++) {
        f[i] = call();
        say(f[i], i % 2 ? "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"count\":true}}"
                        : "{\"id\":1,\"verb\":\"queue.list\"}");
    }
    assert_int_equal(end(state), 0);
    for (size_t i = 0; i < 8; i++)
        fclose(f[i]);
    assert_int_equal(start(state), 0);
}

static _Atomic(struct spooler_export *) held;

static const struct port *hold(struct spooler *s, struct msg *m)
{
    (void)s;
    atomic_store(&held, (struct spooler_export *)(void *)m);
    return NULL;
}

static void let_go(void)
{
    struct spooler_export *x = atomic_exchange(&held, NULL);
    MUST(x);
    port_send(x->reply, &x->msg);
}

/* An answer that waits for the disk (a change's does, until it is durable) waits for ever where
 * that is full; the relay ends all the same. */
static void test_end_while_an_answer_waits(void **state)
{
    FILE *f = call();
    atomic_store(&play, hold);
    play_let_go = let_go;
    say(f, "{\"id\":1,\"verb\":\"queue.export\"}");
    for (int i = 0; i < 6000 && !atomic_load(&held); i++)
        usleep(10000);
    assert_non_null(atomic_load(&held));
    alarm(120); /* or it never comes back */
    assert_int_equal(end(state), 0);
    alarm(0);
    assert_null(atomic_load(&held));
    assert_null(read_object(f)); /* nobody is told that anything was done */
    fclose(f);
    play_let_go = NULL;
    assert_int_equal(start(state), 0);
}

static _Atomic(struct spooler_admin *) waiting_change;

/* As on a disk that is full. */
static bool make_it_wait(struct spooler_admin *a)
{
    if (a->verb < ADMIN_RETRY)
        return false;
    MUST(!atomic_exchange(&waiting_change, a));
    return true;
}

/* Who changes the queue while the disk takes nothing is told so, again and again, and what it is;
 * others hear nothing of it, and the change is answered in the end. */
static void test_told_what_it_waits_for(void **state)
{
    (void)state;
    FILE *f = call(), *other = call();
    atomic_store(&play_keep, make_it_wait);
    say(f, "{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true}}");
    for (int i = 0; i < 2; i++) {
        json_t *o = read_object(f);
        assert_string_equal(
            json_string_value(json_object_get(json_object_get(o, "progress"), "waits_for")),
            "no room left");
        json_decref(o);
    }
    say(other, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":1}}");
    json_t *o = read_object(other);
    assert_non_null(json_object_get(o, "row"));
    json_decref(o);
    atomic_store(&play_keep, NULL);
    struct spooler_admin *a = atomic_exchange(&waiting_change, NULL);
    assert_non_null(a);
    on_request(&spooler, &a->msg);
    while ((o = read_object(f)) && json_object_get(o, "progress"))
        json_decref(o);
    assert_non_null(json_object_get(o, "done"));
    json_decref(o);
    fclose(f);
    fclose(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_too_many_peers),
        cmocka_unit_test(test_the_silent_make_room),
        cmocka_unit_test(test_second_start),
        cmocka_unit_test(test_stale_socket),
        cmocka_unit_test(test_end_in_the_middle),
        cmocka_unit_test(test_end_while_an_answer_waits),
        cmocka_unit_test(test_told_what_it_waits_for),
    };
    return run_with_admin(tests, sizeof tests / sizeof *tests);
}
