/* Connections from a balancer. If this breaks, a client passes for the balancer (and is trusted
 * like it), a stranger passes for a client of his choice, or mail of the balancer's clients is
 * refused.
 */
#include "relay/net/addr.h"
#include "tests/unit/net/world.h"
#include <pthread.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct loop *loop;
static struct server server;
static struct peer served;
static struct net_names names;
static char asked[46]; /* whom admit was asked about */
static bool is_proxy, may_come;
static struct deadline stop;

static bool behind_proxy(void *ctx, const struct sockaddr *peer)
{
    (void)ctx;
    assert_int_equal(peer->sa_family, AF_INET);
    return is_proxy;
}

static bool admit(void *ctx, const struct sockaddr *peer, struct slice *ret_words)
{
    (void)ctx;
    net_addr_text(peer, asked);
    *ret_words = SLICE_LIT("421 not you\r\n");
    return may_come;
}

static bool accept_one(void *ctx, struct net_conn *c, const struct net_handler **ret_h,
                       void **ret_ctx)
{
    net_conn_names(c, &names);
    net_conn_send(c, SLICE_LIT("220 hello\r\n"));
    return server_accept(ctx, c, ret_h, ret_ctx);
}

static void stop_loop(void *ctx, struct mono now)
{
    (void)ctx, (void)now;
    loop_stop(loop);
}

static void on_event(struct peer *p, enum event e)
{
    if (e == EV_EOF)
        net_conn_close(p->c);
    else if (e == EV_CLOSED)
        loop_stop(loop);
}

static void begin(struct tls_context *implicit_tls)
{
    asked[0] = 0;
    names = (struct net_names){0};
    is_proxy = may_come = true;
    loop = loop_new("test", 0);
    server = (struct server){.loop = loop, .peers = &served, .max = 1};
    peer_init(&served, loop);
    served.on = on_event;
    struct net_acceptor a = {.behind_proxy = behind_proxy,
                             .admit = admit,
                             .accept = accept_one,
                             .ctx = &server,
                             .implicit_tls = implicit_tls};
    server.listener = net_listen(loop, listening_fd(&server.addr), &a);
}

static void end(void)
{
    loop_free(loop);
    if (server.next)
        peer_done(&served); /* it has heard its end, once */
}

/* Nobody was made of it. */
static bool is_refused(void *fd)
{
    return server.next == 0 && has_ended(*(int *)fd);
}

/* Sends it all and says that no more comes; then the loop runs until the connection is over, or
 * refused. Returns what came back. */
static size_t play(const char *bytes, size_t n, char *ret, size_t room)
{
    int fd = raw_connect(&server);
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
    shutdown(fd, SHUT_WR);
    run_until(loop, is_refused, &fd);
    size_t got = 0;
    ssize_t part;
    while ((part = recv(fd, ret + got, room - got - 1, 0)) > 0)
        got += (size_t)part;
    ret[got] = 0;
    close(fd);
    return got;
}

#define LIT(text) text, sizeof(text) - 1
#define SAYS "EHLO a\r\n"

static void who_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *client, *local;
        unsigned client_port, local_port; /* 0: the real one */
    } cases[] = {
        {LIT("PROXY TCP4 192.0.2.1 203.0.113.2 56324 587\r\n" SAYS), "192.0.2.1", "203.0.113.2",
         56324, 587},
        {LIT("PROXY TCP6 2001:db8::1 2001:db8::2 7 587\r\n" SAYS), "2001:db8::1", "2001:db8::2", 7,
         587},
        {LIT("PROXY UNKNOWN\r\n" SAYS), "127.0.0.1", "127.0.0.1", 0, 0},
        {LIT(SIGNATURE "\x21\x11\0\x0c\xc0\0\x02\x01\xcb\0\x71\x02\xdc\x04\x02\x4b" SAYS),
         "192.0.2.1", "203.0.113.2", 56324, 587},
        {LIT(SIGNATURE "\x20\0\0\0" SAYS), "127.0.0.1", "127.0.0.1", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char back[100];
        begin(NULL);
        play(cases[i].bytes, cases[i].n, back, sizeof back);
        assert_string_equal(back, "220 hello\r\n");
        assert_int_equal(server.next, 1);
        assert_string_equal(asked, cases[i].client);
        assert_string_equal(names.peer_ip, cases[i].client);
        assert_string_equal(names.local_ip, cases[i].local);
        if (cases[i].client_port) {
            assert_int_equal(names.peer_port, cases[i].client_port);
            assert_int_equal(names.local_port, cases[i].local_port);
        }
        assert_string_equal(buf_str(&served.got), SAYS); /* all of it, and nothing of the header */
        end();
    }
}

/* Nobody is asked, nothing is said. */
static void no_header(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
        {LIT(SAYS)},
        {LIT("PROXY TCP4 192.0.2.1 203.0.113.2 56324\r\n" SAYS)},
        {LIT("PROXY TCP4 192.0.2.1 ")}, /* and the end */
        {LIT(SIGNATURE "\x21\x11\xff\xff")},
        {LIT("")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char back[100];
        begin(NULL);
        assert_int_equal(play(cases[i].bytes, cases[i].n, back, sizeof back), 0);
        assert_int_equal(server.next, 0);
        assert_string_equal(asked, "");
        end();
    }
}

/* Who is no balancer can say what he likes. */
static void strangers(void **state)
{
    (void)state;
    char back[100];
    begin(NULL);
    is_proxy = false;
    play(LIT("PROXY TCP4 192.0.2.1 203.0.113.2 56324 587\r\n"), back, sizeof back);
    assert_string_equal(names.peer_ip, "127.0.0.1");
    assert_string_equal(asked, "127.0.0.1");
    assert_string_equal(buf_str(&served.got), "PROXY TCP4 192.0.2.1 203.0.113.2 56324 587\r\n");
    end();
}

static void refused_client(void **state)
{
    (void)state;
    char back[100];
    begin(NULL);
    may_come = false;
    play(LIT("PROXY TCP4 192.0.2.1 203.0.113.2 56324 587\r\n" SAYS), back, sizeof back);
    assert_string_equal(back, "421 not you\r\n");
    assert_string_equal(asked, "192.0.2.1");
    assert_int_equal(server.next, 0);
    end();
}

/* --- one octet after the other, then TLS in the segment that ends the header ------------------ */

struct slow {
    struct slice header;
    struct tls_context *context;
    char greeting[100];
};

static void *dribble(void *ctx)
{
    struct slow *s = ctx;
    int fd = raw_connect(&server);
    struct tls_engine *t = tls_engine_new(s->context, false, SLICE_NONE);
    struct buf last = BUF_MAX(4096), in = BUF_MAX(4096);
    for (size_t i = 0; i + 1 < s->header.n; i++) {
        MUST(send(fd, s->header.p + i, 1, MSG_NOSIGNAL) == 1);
        usleep(500);
    }
    buf_add_u8(&last, s->header.p[s->header.n - 1]);
    struct slice out = tls_engine_output(t);
    buf_add(&last, out);
    tls_engine_sent(t, out.n);
    MUST(send(fd, last.p, last.n, MSG_NOSIGNAL) == (ssize_t)last.n);
    while (in.n == 0) {
        uint8_t bytes[4096];
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0)
            break;
        tls_engine_feed(t, slice_of(bytes, (size_t)n));
        out = tls_engine_output(t);
        MUST(send(fd, out.p, out.n, MSG_NOSIGNAL) == (ssize_t)out.n);
        tls_engine_sent(t, out.n);
        tls_engine_read(t, &in, 1000);
    }
    snprintf(s->greeting, sizeof s->greeting, "%s", buf_str(&in));
    close(fd);
    tls_engine_free(t);
    buf_done(&in);
    buf_done(&last);
    return NULL;
}

static void before_tls(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } headers[] = {
        {LIT("PROXY TCP4 192.0.2.1 203.0.113.2 56324 465\r\n")},
        {LIT(SIGNATURE "\x21\x11\0\x0f\xc0\0\x02\x01\xcb\0\x71\x02\xdc\x04\x02\x4b\x04\0\0")},
    };
    for (size_t i = 0; i < 2; i++) {
        struct tls_context *ours = NULL;
        struct slow s = {.header = slice_of(headers[i].bytes, headers[i].n)};
        pthread_t thread;
        contexts_new(&ours, &s.context);
        begin(ours);
        assert_int_equal(pthread_create(&thread, NULL, dribble, &s), 0);
        run_for(loop, 10000);
        pthread_join(thread, NULL);
        assert_string_equal(s.greeting, "220 hello\r\n");
        assert_string_equal(names.peer_ip, "192.0.2.1");
        assert_true(served.tls_ok);
        end();
        tls_context_unref(ours);
        tls_context_unref(s.context);
    }
}

static void close_listener(void *ctx, struct mono now)
{
    (void)ctx, (void)now;
    net_listener_close(server.listener);
}

/* The listener goes while a header is on its way: nobody is left who could take the client. */
static void listener_closes(void **state)
{
    (void)state;
    struct deadline d;
    char byte;
    begin(NULL);
    int fd = raw_connect(&server);
    assert_int_equal(send(fd, "PROXY ", 6, MSG_NOSIGNAL), 6);
    deadline_init(loop, &d, close_listener, NULL);
    deadline_set(loop, &d, mono_add(mono_now(), 50));
    deadline_init(loop, &stop, stop_loop, NULL);
    deadline_set(loop, &stop, mono_add(mono_now(), 150));
    run_for(loop, 10000);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    assert_int_equal(server.next, 0);
    close(fd);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_it_is),  cmocka_unit_test(no_header),
        cmocka_unit_test(strangers),  cmocka_unit_test(refused_client),
        cmocka_unit_test(before_tls), cmocka_unit_test(listener_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
