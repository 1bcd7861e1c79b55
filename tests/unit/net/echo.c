/* Bytes go through both ends unchanged, whatever the pieces: in clear, under TLS from the start,
 * and with STARTTLS in the middle; two loops in two threads, several connections at once. If this
 * breaks, mail is damaged on the wire. */
#include "tests/unit/net/world.h"

enum { CONNS = 6, BYTES = 700000 };

static struct tls_context *server_tls, *client_tls;
static struct buf payload;

static int make_contexts(void **state)
{
    (void)state;
    contexts_new(&server_tls, &client_tls);
    buf_init(&payload, BYTES);
    fill(&payload, BYTES, 42);
    return 0;
}

static int free_contexts(void **state)
{
    (void)state;
    tls_context_unref(server_tls);
    tls_context_unref(client_tls);
    buf_done(&payload);
    return 0;
}

enum mode { CLEAR, STARTTLS, IMPLICIT };

struct world {
    struct loop *server_loop, *client_loop;
    struct server server;
    struct peer servers[CONNS], clients[CONNS];
    size_t sent[CONNS]; /* by clients[i] */
    unsigned closed_clients, closed_servers;
    enum mode mode;
    bool fussy; /* the server takes pieces and asks for the rest later */
};
static struct world w;

/* --- the server: gives everything back ------------------------------------------------------- */

static size_t echo_take(struct peer *p, struct slice in)
{
    if (w.mode == STARTTLS && !p->count[EV_TLS]) {
        if (in.n < 10)
            return 0;
        MUST(slice_starts(in, SLICE_LIT("STARTTLS\r\n")));
        net_conn_send(p->c, SLICE_LIT("220 go\r\n"));
        net_conn_start_tls(p->c, server_tls, true, SLICE_NONE);
        buf_reset(&p->got);
        return 0; /* even what is not taken does not come again */
    }
    size_t n = in.n;
    if (w.fussy && rng_below(&p->rng, 3) == 0) {
        n = (size_t)rng_below(&p->rng, in.n + 1);
        if (rng_below(&p->rng, 2))
            net_conn_resume(p->c); /* at once, from within */
        else
            net_conn_deadline(p->c, mono_add(loop_now(p->loop), 1));
    }
    net_conn_send(p->c, slice_head(in, n));
    if (w.fussy && n < in.n && rng_below(&p->rng, 2) == 0)
        net_conn_deadline(p->c, loop_now(p->loop));
    else if (n < in.n)
        net_conn_deadline(p->c, mono_add(loop_now(p->loop), 2));
    return n;
}

static void server_on(struct peer *p, enum event e)
{
    if (e == EV_DEADLINE)
        net_conn_resume(p->c);
    else if (e == EV_EOF)
        net_conn_close(p->c);
    else if (e == EV_CLOSED && ++w.closed_servers == CONNS)
        loop_stop(w.server_loop);
}

static void server_accepted(struct peer *p)
{
    p->take = echo_take;
    p->on = server_on;
}

/* --- the client: sends the payload in pieces, wants it back ----------------------------------- */

static void send_more(struct peer *p)
{
    size_t *sent = &w.sent[p - w.clients];
    while (*sent < BYTES && net_conn_unsent(p->c) < 100000) {
        size_t n = 1 + (size_t)rng_below(&p->rng, rng_below(&p->rng, 3) ? 30000 : 10);
        struct slice s = slice_head(slice_skip(buf_slice(&payload), *sent), n);
        net_conn_send(p->c, s);
        *sent += s.n;
    }
}

static size_t client_take(struct peer *p, struct slice in)
{
    if (w.mode == STARTTLS && !p->count[EV_TLS]) {
        if (in.n < 8)
            return 0;
        net_conn_start_tls(p->c, client_tls, false, SLICE_LIT("mx.test"));
        send_more(p); /* waits for the handshake */
        MUST(!net_conn_tls_info(p->c).version);
        buf_reset(&p->got);
        return 0;
    }
    if (p->got.n + in.n == BYTES)
        net_conn_close(p->c);
    return in.n;
}

static void client_on(struct peer *p, enum event e)
{
    if (e == EV_CONNECTED && w.mode == STARTTLS)
        net_conn_send(p->c, SLICE_LIT("STARTTLS\r\nEVIL COMMAND\r\n"));
    else if (e == EV_CONNECTED && w.mode == IMPLICIT)
        net_conn_start_tls(p->c, client_tls, false, SLICE_NONE);
    else if (e == EV_CONNECTED || (e == EV_SENT && (w.mode == CLEAR || p->count[EV_TLS])))
        send_more(p);
    else if (e == EV_TLS)
        send_more(p);
    else if (e == EV_CLOSED && ++w.closed_clients == CONNS)
        loop_stop(w.client_loop);
}

static void echo(enum mode mode, bool fussy)
{
    memset(&w, 0, sizeof w);
    w.mode = mode;
    w.fussy = fussy;
    w.server_loop = loop_new("server", 0);
    w.client_loop = loop_new("client", 1);
    server_init(&w.server, w.server_loop, w.servers, CONNS, mode == IMPLICIT ? server_tls : NULL);
    w.server.accepted = server_accepted;
    assert_int_equal(loop_start(w.server_loop), 0);
    for (unsigned i = 0; i < CONNS; i++) {
        client_init(&w.clients[i], w.client_loop, &w.server);
        rng_seed(&w.clients[i].rng, i + 100 * mode);
        w.clients[i].take = client_take;
        w.clients[i].on = client_on;
    }
    run_for(w.client_loop, 60000);
    loop_join(w.server_loop);
    for (unsigned i = 0; i < CONNS; i++) {
        struct peer *c = &w.clients[i], *s = &w.servers[i];
        assert_true(slice_eq(buf_slice(&c->got), buf_slice(&payload)));
        assert_true(slice_eq(buf_slice(&s->got), buf_slice(&payload)));
        assert_int_equal(s->eof_err, 0);
        assert_int_equal(s->count[EV_EOF], 1);
        assert_int_equal(c->tls_ok, mode != CLEAR);
        assert_int_equal(s->count[EV_TLS], mode != CLEAR);
        assert_true(s->largest_offer <= NET_INPUT_MAX);
        peer_done(c);
        peer_done(s);
    }
    loop_free(w.client_loop);
    loop_free(w.server_loop);
}

static void clear(void **state)
{
    (void)state;
    echo(CLEAR, false);
    echo(CLEAR, true);
}

/* The server's end also drops "EVIL COMMAND", which came before the handshake (checklist 8). */
static void starttls(void **state)
{
    (void)state;
    echo(STARTTLS, false);
    echo(STARTTLS, true);
}

static void implicit_tls(void **state)
{
    (void)state;
    echo(IMPLICIT, false);
    echo(IMPLICIT, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clear),
        cmocka_unit_test(starttls),
        cmocka_unit_test(implicit_tls),
    };
    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}
