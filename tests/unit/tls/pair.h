/* Two engines back to back, no socket; with contexts of one self-signed certificate for mx.test. */
#pragma once
#include "relay/base/rand.h"
#include "relay/tls/tls.h"
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct tls_context *server_context, *client_context;
static struct buf cert, key;

static inline int make_contexts(void **state)
{
    struct err e = {0};
    (void)state;
    buf_init(&cert, 65536);
    buf_init(&key, 65536);
    assert_int_equal(tls_self_signed(SLICE_LIT("mx.test"), &cert, &key, &e), 0);
    assert_int_equal(tls_context_server_pem(&server_context, buf_slice(&cert), buf_slice(&key), &e),
                     0);
    assert_int_equal(tls_context_client(&client_context, &e), 0);
    return 0;
}

static inline int free_contexts(void **state)
{
    (void)state;
    tls_context_unref(server_context);
    tls_context_unref(client_context);
    buf_done(&cert);
    buf_done(&key);
    return 0;
}

struct pair {
    struct tls_engine *client, *server;
    struct buf at_client, at_server;
    enum tls_state client_state, server_state;
};

static inline struct pair pair_of(struct tls_context *client, struct tls_context *server,
                                  struct slice sni)
{
    return (struct pair){
        .client = tls_engine_new(client, false, sni),
        .server = tls_engine_new(server, true, SLICE_NONE),
        .at_client = BUF_MAX(16 << 20),
        .at_server = BUF_MAX(16 << 20),
    };
}

static inline void pair_free(struct pair *p)
{
    tls_engine_free(p->client);
    tls_engine_free(p->server);
    buf_done(&p->at_client);
    buf_done(&p->at_server);
}

/* How much goes at once: `fixed`, or by chance. */
static inline size_t piece(struct rng *r, size_t fixed, size_t available)
{
    size_t n = fixed ? fixed : 1 + (size_t)rng_below(r, rng_below(r, 4) ? 40000 : 20);
    return n < available ? n : available;
}

static inline enum tls_state carry(struct tls_engine *from, struct tls_engine *to, struct buf *out,
                                   struct rng *r, size_t fixed)
{
    enum tls_state state = tls_engine_feed(to, SLICE_NONE);
    for (;;) {
        struct slice s = tls_engine_output(from);
        if (s.n == 0)
            return state;
        size_t n = piece(r, fixed, s.n);
        /* An exact heap copy, so that the sanitizer sees one byte too many. */
        uint8_t *copy = malloc(n);
        memcpy(copy, s.p, n);
        tls_engine_sent(from, n);
        state = tls_engine_feed(to, slice_of(copy, n));
        free(copy);
        size_t before;
        do {
            before = out->n;
            state = tls_engine_read(to, out, piece(r, 0, 30000));
        } while (out->n > before);
    }
}

/* Until neither has anything to say. fixed: octets at once; 0: by chance. */
static inline void exchange(struct pair *p, struct rng *r, size_t fixed)
{
    while (tls_engine_output(p->client).n || tls_engine_output(p->server).n) {
        p->server_state = carry(p->client, p->server, &p->at_server, r, fixed);
        p->client_state = carry(p->server, p->client, &p->at_client, r, fixed);
    }
}
