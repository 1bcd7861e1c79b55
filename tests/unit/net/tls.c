/* Connections whose TLS goes wrong or is used oddly. If this breaks, a failed handshake hangs or
 * goes on in clear, or bytes of one session appear in another. */
#include "tests/unit/net/pair.h"
#include <openssl/ssl.h>

static struct peer other;
static struct tls_context *server_tls, *client_tls;

static int make_contexts(void **state)
{
    (void)state;
    contexts_new(&server_tls, &client_tls);
    return 0;
}

static int free_contexts(void **state)
{
    (void)state;
    assert_int_equal(atomic_load(&server_tls->frozen.refs), 1); /* every connection gave it back */
    assert_int_equal(atomic_load(&client_tls->frozen.refs), 1);
    tls_context_unref(server_tls);
    tls_context_unref(client_tls);
    return 0;
}

static int setup_tls(void **state)
{
    (void)state;
    return setup_with(server_tls);
}

static void close_when_over(struct peer *p, enum event e)
{
    if (e == EV_EOF || e == EV_DEADLINE || (e == EV_TLS && !p->tls_ok))
        net_conn_close(p->c);
    if (e == EV_CLOSED && --to_close == 0)
        loop_stop(loop);
}

static void greet(struct peer *p)
{
    net_conn_send(p->c, SLICE_LIT("220 secret greeting\r\n")); /* waits for the handshake */
}

static void garbage_for_a_handshake(void **state)
{
    (void)state;
    char answer[200];
    served[0].on = close_when_over;
    server.accepted = greet;
    int fd = raw_connect(&server);
    assert_int_equal(send(fd, "EHLO client.test\r\n", 18, 0), 18);
    shutdown(fd, SHUT_WR);
    run_for(loop, 10000);
    assert_int_equal(served[0].count[EV_TLS], 1);
    assert_false(served[0].tls_ok);
    assert_true(*served[0].why != 0);
    assert_int_equal(served[0].count[EV_EOF] + served[0].count[EV_SENT], 0);
    assert_int_equal(served[0].got.n, 0);
    assert_int_equal(recv(fd, answer, sizeof answer, 0), 0); /* nothing in clear */
    close(fd);
}

static void start_client_tls(struct peer *p, enum event e)
{
    if (e == EV_CONNECTED)
        net_conn_start_tls(p->c, client_tls, false, SLICE_NONE);
    close_when_over(p, e);
}

static void answer_in_clear(struct peer *p, enum event e)
{
    if (e == EV_SENT)
        net_conn_close(p->c);
    close_when_over(p, e);
}

static size_t say_no(struct peer *p, struct slice in)
{
    net_conn_send(p->c, SLICE_LIT("454 4.7.0 TLS not available\r\n"));
    return in.n;
}

/* Our side asks, the other speaks SMTP on: an error, with a reason. */
static void server_without_tls(void **state)
{
    (void)state;
    struct server plain;
    struct peer p;
    server_init(&plain, loop, &p, 1, NULL);
    p.take = say_no;
    p.on = answer_in_clear;
    client_init(&client, loop, &plain);
    client.on = start_client_tls;
    to_close = 2;
    run_for(loop, 10000);
    assert_int_equal(client.count[EV_TLS], 1);
    assert_false(client.tls_ok);
    assert_string_equal(client.why, "the other side does not speak TLS");
    assert_int_equal(client.got.n, 0);
    peer_done(&client);
    peer_done(&p);
}

static void leaves_in_handshake(void **state)
{
    (void)state;
    served[0].on = close_when_over;
    int fd = raw_connect(&server);
    assert_int_equal(send(fd, "\x16\x03\x01", 3, 0), 3);
    close(fd);
    run_for(loop, 10000);
    assert_int_equal(served[0].count[EV_TLS], 1);
    assert_string_equal(served[0].why, "the peer closed the connection");
    assert_int_equal(served[0].count[EV_EOF], 0);
}

static void set_deadline(struct peer *p)
{
    net_conn_deadline(p->c, mono_add(loop_now(p->loop), 50));
}

/* Says nothing at all: the handler's deadline counts in the handshake, too. */
static void silent_in_handshake(void **state)
{
    (void)state;
    served[0].on = close_when_over;
    server.accepted = set_deadline;
    int fd = raw_connect(&server);
    run_for(loop, 10000);
    assert_int_equal(served[0].count[EV_DEADLINE], 1);
    assert_int_equal(served[0].count[EV_TLS], 0);
    close(fd);
}

static enum { CLOSE, ABORT } how;
static void end_in_on_tls(struct peer *p, enum event e)
{
    if (e == EV_CONNECTED)
        net_conn_start_tls(p->c, client_tls, false, SLICE_LIT("mx.test"));
    if (e == EV_TLS && how == CLOSE) {
        net_conn_send(p->c, SLICE_LIT("last words"));
        net_conn_close(p->c);
    } else if (e == EV_TLS) {
        net_conn_abort(p->c);
    }
    close_when_over(p, e);
}

static void close_within_on_tls(void **state)
{
    (void)state;
    for (how = CLOSE; how <= ABORT; how++) {
        served[0].on = close_when_over;
        client_init(&client, loop, &server);
        client.on = end_in_on_tls;
        to_close = 2;
        run_for(loop, 10000);
        assert_true(client.tls_ok);
        peer_done(&client);
        if (how == CLOSE) {
            assert_true(slice_eq(buf_slice(&served[0].got), SLICE_LIT("last words")));
            assert_int_equal(served[0].eof_err, 0);
        } else {
            assert_int_equal(served[0].got.n, 0);
        }
        teardown(state);
        setup_tls(state);
    }
}

/* close_notify with bytes of which the handler wants no more yet: the end is told at once, the
 * bytes stay and come with resume. */
static size_t take_one(struct peer *p, struct slice in)
{
    (void)p, (void)in;
    return 1;
}

static void end_with_kept_bytes(struct peer *p, enum event e)
{
    if (e == EV_EOF)
        net_conn_deadline(p->c, mono_add(loop_now(loop), 10));
    if (e == EV_DEADLINE) {
        p->count[EV_EOF] = 0; /* world.h allows no bytes after the end: here they are expected */
        assert_int_equal(p->got.n, 1);
        for (unsigned i = 0; i < 20; i++)
            net_conn_resume(p->c);
        net_conn_close(p->c);
    }
    if (e != EV_EOF)
        close_when_over(p, e);
}

static void kept_bytes_after_end(void **state)
{
    (void)state;
    how = CLOSE;
    served[0].take = take_one;
    served[0].on = end_with_kept_bytes;
    client_init(&client, loop, &server);
    client.on = end_in_on_tls;
    to_close = 2;
    run_for(loop, 10000);
    assert_true(slice_eq(buf_slice(&served[0].got), SLICE_LIT("last words")));
    peer_done(&client);
}

/* --- two connections that share the loop's buffers -------------------------------------------- */

enum { HALF = 30000 };
static struct buf text_a, text_b;

static void send_text(struct peer *p, enum event e)
{
    const struct buf *text = p->data;
    if (e == EV_CONNECTED)
        net_conn_start_tls(p->c, client_tls, false, SLICE_NONE);
    if (e == EV_TLS) {
        assert_string_equal(net_conn_tls_info(p->c).version, "TLSv1.3");
        net_conn_send(p->c, buf_slice(text));
    }
    if (e == EV_SENT && p->count[EV_TLS])
        net_conn_close(p->c);
    close_when_over(p, e);
}

static size_t take_later(struct peer *p, struct slice in)
{
    return p->data ? in.n : 0; /* until the other says so */
}

/* While it looks at its own plaintext, it makes the other decrypt. */
static size_t wake_other(struct peer *p, struct slice in)
{
    struct peer *sleeper = p->data;
    uint8_t *before = malloc(in.n);
    memcpy(before, in.p, in.n);
    sleeper->data = sleeper;
    if (sleeper->c && sleeper->count[EV_TLS] && !sleeper->count[EV_CLOSED])
        net_conn_resume(sleeper->c);
    assert_memory_equal(before, in.p, in.n);
    free(before);
    return in.n;
}

static void start_other(void *ctx, struct mono now)
{
    (void)ctx, (void)now;
    client_init(&other, loop, &server);
    other.data = &text_b;
    other.on = send_text;
}

static void resume_from_another(void **state)
{
    (void)state;
    buf_init(&text_a, HALF * 10);
    buf_init(&text_b, HALF);
    fill(&text_a, HALF * 10, 1);
    fill(&text_b, HALF, 2);
    served[0].take = take_later;
    served[0].on = close_when_over;
    served[1].take = wake_other;
    served[1].data = &served[0];
    served[1].on = close_when_over;
    client_init(&client, loop, &server);
    client.data = &text_a;
    client.on = send_text;
    struct deadline later;
    deadline_init(loop, &later, start_other, NULL);
    deadline_set(loop, &later, mono_add(mono_now(), 100));
    to_close = 4;
    run_for(loop, 10000);
    assert_true(slice_eq(buf_slice(&served[0].got), buf_slice(&text_a)));
    assert_true(slice_eq(buf_slice(&served[1].got), buf_slice(&text_b)));
    assert_true(served[0].largest_offer <= NET_INPUT_MAX);
    peer_done(&client);
    peer_done(&other);
    buf_done(&text_a);
    buf_done(&text_b);
}

/* --- a foreign TLS client --------------------------------------------------------------------- */

struct foreign {
    int fd, max_version;
    bool damage;
    bool connected;
    char got[100];
};

static void *play_foreign(void *arg)
{
    struct foreign *f = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, f->max_version);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, f->fd);
    f->connected = SSL_connect(ssl) == 1;
    if (f->connected) {
        int n = SSL_read(ssl, f->got, sizeof f->got - 1);
        f->got[n > 0 ? n : 0] = 0;
        SSL_write(ssl, "EHLO x\r\n", 8);
    }
    if (f->damage)
        MUST(send(f->fd,
                  "\x17\x03\x03\x00\x20"
                  "damagedamagedamagedamagedamage..",
                  37, MSG_NOSIGNAL) == 37);
    else if (f->connected)
        SSL_shutdown(ssl);
    char rest[100];
    while (recv(f->fd, rest, sizeof rest, 0) > 0)
        ;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(f->fd);
    return NULL;
}

static void foreign_clients(void **state)
{
    static const struct {
        int max_version;
        bool damage, ok;
        int eof_err;
    } cases[] = {{TLS1_1_VERSION, false, false, 0},
                 {TLS1_2_VERSION, false, true, 0},
                 {TLS1_3_VERSION, false, true, 0},
                 {TLS1_2_VERSION, true, true, -EPROTO},
                 {TLS1_3_VERSION, true, true, -EPROTO}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        pthread_t thread;
        served[0].on = close_when_over;
        server.accepted = greet;
        struct foreign f = {.fd = raw_connect(&server),
                            .max_version = cases[i].max_version,
                            .damage = cases[i].damage};
        pthread_create(&thread, NULL, play_foreign, &f);
        run_for(loop, 10000);
        pthread_join(thread, NULL);
        assert_int_equal(f.connected, cases[i].ok);
        assert_int_equal(served[0].tls_ok, cases[i].ok);
        assert_int_equal(served[0].count[EV_TLS], 1);
        if (cases[i].ok) {
            assert_string_equal(f.got, "220 secret greeting\r\n");
            assert_true(slice_eq(buf_slice(&served[0].got), SLICE_LIT("EHLO x\r\n")));
            assert_int_equal(served[0].count[EV_EOF], 1);
            assert_int_equal(served[0].eof_err, cases[i].eof_err);
        } else {
            assert_string_equal(served[0].why, "unsupported protocol");
        }
        teardown(state);
        setup_tls(state);
    }
}

/* --- what leaves together --------------------------------------------------------------------- */

struct listening {
    int fd;
    char greeting[100], farewell[100];
    bool end; /* close_notify came with the farewell */
};

static void push(const struct listening *l, SSL *ssl)
{
    char out[4096];
    int n = BIO_read(SSL_get_wbio(ssl), out, sizeof out);
    if (n > 0)
        MUST(send(l->fd, out, (size_t)n, MSG_NOSIGNAL) == n);
}

/* What the server has written at once; on loopback that is what is read at once. */
static void fetch(const struct listening *l, SSL *ssl)
{
    char in[16384];
    ssize_t n = recv(l->fd, in, sizeof in, 0);
    if (n > 0)
        MUST(BIO_write(SSL_get_rbio(ssl), in, (int)n) == n);
}

static void hear(SSL *ssl, char *text, size_t size)
{
    int n = SSL_read(ssl, text, (int)size - 1);
    text[n > 0 ? n : 0] = 0;
}

static void *play_listening(void *arg)
{
    struct listening *l = arg;
    char none[1];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
    while (SSL_connect(ssl) != 1) {
        push(l, ssl);
        fetch(l, ssl);
    }
    push(l, ssl);
    fetch(l, ssl);
    hear(ssl, l->greeting, sizeof l->greeting);
    SSL_write(ssl, "QUIT\r\n", 6);
    push(l, ssl);
    fetch(l, ssl);
    hear(ssl, l->farewell, sizeof l->farewell);
    l->end = SSL_read(ssl, none, 1) <= 0 && (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);
    close(l->fd);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return NULL;
}

static size_t bid_farewell(struct peer *p, struct slice in)
{
    net_conn_send(p->c, SLICE_LIT("221 farewell\r\n"));
    net_conn_close(p->c);
    return in.n;
}

/* Each write wakes the peer: a ticket goes with the greeting, close_notify with the last reply. */
static void one_write_for_what_belongs_together(void **state)
{
    (void)state;
    pthread_t thread;
    served[0].on = close_when_over;
    served[0].take = bid_farewell;
    server.accepted = greet;
    struct listening l = {.fd = raw_connect(&server)};
    pthread_create(&thread, NULL, play_listening, &l);
    run_for(loop, 10000);
    pthread_join(thread, NULL);
    assert_string_equal(l.greeting, "220 secret greeting\r\n");
    assert_string_equal(l.farewell, "221 farewell\r\n");
    assert_true(l.end);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_tls, teardown)
    const struct CMUnitTest tests[] = {
        T(garbage_for_a_handshake), T(server_without_tls),  T(leaves_in_handshake),
        T(silent_in_handshake),     T(close_within_on_tls), T(kept_bytes_after_end),
        T(resume_from_another),     T(foreign_clients),     T(one_write_for_what_belongs_together),
    };
    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}
