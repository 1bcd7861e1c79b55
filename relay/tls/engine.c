/* One TLS connection between two queues of bytes. OpenSSL reads and writes them through a BIO of
 * our own: no copying inside a memory BIO, and what is empty keeps no memory. */
#include "relay/tls/engine.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/tls/certificate.h"
#include "relay/tls/fifo.h"
#include "relay/tls/reason.h"
#include "relay/tls/session.h"
#include "relay/tls/tls.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* A peer may give as many as it likes; of one connection so many are looked at, and the newest of
 * them kept. OpenSSL's servers give two after a handshake in full. */
#define SESSIONS_MAX 8
#define SESSIONS_KEPT 4

struct tls_engine {
    struct tls_context *context;
    SSL *ssl;
    struct fifo in, out; /* ciphertext from and for the peer */
    enum tls_state state;
    size_t answers; /* octets of output that OpenSSL made by itself and the peer has not taken */
    bool unverified;
    size_t can_wait;                             /* octets of output: nothing but tickets */
    unsigned sessions_left;                      /* of those that the peer gives */
    struct tls_session *sessions[SESSIONS_KEPT]; /* the oldest first */
    unsigned n_sessions;
    char error[300];
};

static int bio_read(BIO *bio, char *to, size_t n, size_t *ret_n)
{
    struct tls_engine *t = BIO_get_data(bio);
    struct slice s = slice_head(fifo_slice(&t->in), n);
    BIO_clear_retry_flags(bio);
    *ret_n = s.n;
    if (s.n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(to, s.p, s.n);
    fifo_take(&t->in, s.n);
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t n, size_t *ret_n)
{
    struct tls_engine *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *ret_n = n;
    return fifo_add(&t->out, slice_of(from, n));
}

static long bio_ctrl(BIO *bio, int what, long n, void *p)
{
    (void)bio, (void)n, (void)p;
    return what == BIO_CTRL_FLUSH; /* the one wish that matters: nothing is held back */
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_method_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "tls_engine");
    MUST(bio_method && BIO_meth_set_read_ex(bio_method, bio_read) &&
         BIO_meth_set_write_ex(bio_method, bio_write) && BIO_meth_set_ctrl(bio_method, bio_ctrl));
}

static void fail(struct tls_engine *t, const char *otherwise)
{
    t->state = TLS_FAILED;
    reason_write(t->error, sizeof t->error, otherwise);
}

/* "certificate has expired" says more than "certificate verify failed". */
static void fail_handshake(struct tls_engine *t)
{
    long result = SSL_get_verify_result(t->ssl);
    bool counts = SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE;
    fail(t, "the handshake failed");
    t->unverified = counts && result != X509_V_OK;
    if (!t->unverified)
        return;
    DEFER(buf_done) struct buf why = BUF_MAX(sizeof t->error - 1);
    buf_add_str(&why, X509_verify_cert_error_string(result));
    certificate_add_facts(&why, t->ssl, result);
    snprintf(t->error, sizeof t->error, "%s", buf_str(&why));
}

/* What a server of TLS 1.3 says behind the client's Finished are tickets (RFC 8446 section 4.6.1).
 * Nobody waits for one: it need not wake the client before the next words do. */
static void note_tickets(struct tls_engine *t, size_t before)
{
    if (SSL_is_server(t->ssl) && SSL_version(t->ssl) >= TLS1_3_VERSION && before == 0)
        t->can_wait = fifo_size(&t->out);
}

static void turn_handshake(struct tls_engine *t)
{
    const size_t before = fifo_size(&t->out);
    ERR_clear_error(); /* checklist 91: an old error would be taken for this call's */
    int n = SSL_do_handshake(t->ssl);
    if (n == 1) {
        t->state = TLS_OPEN;
        note_tickets(t, before);
    } else if (SSL_get_error(t->ssl, n) != SSL_ERROR_WANT_READ) {
        fail_handshake(t);
    }
}

/* RFC 6066: a host name, no literal address; a name that OpenSSL does not take is not sent. */
static void set_sni(SSL *ssl, struct slice sni)
{
    char *name = slice_dup(sni);
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(name);
    if (!ip && strlen(name) == sni.n)
        SSL_set_tlsext_host_name(ssl, name);
    ASN1_OCTET_STRING_free(ip);
    free(name);
}

void tls_expect_name(X509_VERIFY_PARAM *param, struct slice name)
{
    char *text = slice_dup(name.n ? name : SLICE_LIT("nobody.invalid"));
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!X509_VERIFY_PARAM_set1_ip_asc(param, text))
        MUST(X509_VERIFY_PARAM_set1_host(param, text, 0));
    free(text);
}

static struct tls_engine *engine_new(struct tls_context *c)
{
    pthread_once(&bio_method_once, make_bio_method);
    struct tls_engine *t = must_alloc(sizeof *t);
    frozen_ref(&c->frozen);
    t->context = c;
    t->state = TLS_HANDSHAKING;
    fifo_init(&t->in, TLS_INPUT_MAX);
    fifo_init(&t->out, SIZE_MAX);
    ERR_clear_error();
    BIO *bio = BIO_new(bio_method);
    t->ssl = SSL_new(c->ssl_ctx);
    MUST(bio && t->ssl);
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    return t;
}

static void prepare_client(struct tls_engine *t, struct slice sni)
{
    SSL_set_connect_state(t->ssl);
    if (sni.n)
        set_sni(t->ssl, sni);
    if (SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE)
        tls_expect_name(SSL_get0_param(t->ssl), sni);
}

struct tls_engine *tls_engine_new(struct tls_context *c, bool server, struct slice sni)
{
    struct tls_engine *t = engine_new(c);
    if (server) {
        SSL_set_accept_state(t->ssl);
    } else {
        prepare_client(t, sni);
        turn_handshake(t); /* the client speaks first */
    }
    return t;
}

struct tls_engine *tls_engine_resume(struct tls_context *c, struct slice sni,
                                     const struct tls_session *offer)
{
    struct tls_engine *t = engine_new(c);
    t->sessions_left = SESSIONS_MAX;
    prepare_client(t, sni);
    if (offer)
        session_offer(t->ssl, offer, sni);
    turn_handshake(t);
    return t;
}

/* NULL: there is none. */
static struct tls_session *oldest_session(struct tls_engine *t)
{
    struct tls_session *s = t->n_sessions ? t->sessions[0] : NULL;
    if (s)
        memmove(t->sessions, t->sessions + 1, --t->n_sessions * sizeof *t->sessions);
    return s;
}

int tls_engine_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_engine *t = SSL_get_app_data(ssl);
    if (t->sessions_left == 0)
        return 0;
    t->sessions_left--;
    struct tls_session *s = session_of(session);
    if (s && t->n_sessions == SESSIONS_KEPT)
        tls_session_unref(oldest_session(t));
    if (s)
        t->sessions[t->n_sessions++] = s;
    return 0; /* it stays OpenSSL's */
}

struct tls_session *tls_engine_take_session(struct tls_engine *t)
{
    if (t->state == TLS_HANDSHAKING || t->state == TLS_FAILED)
        return NULL;
    return oldest_session(t);
}

void tls_engine_free(struct tls_engine *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    while (t->n_sessions > 0)
        tls_session_unref(oldest_session(t));
    fifo_done(&t->in);
    fifo_done(&t->out);
    tls_context_unref(t->context);
    free(t);
}

enum tls_state tls_engine_feed(struct tls_engine *t, struct slice ciphertext)
{
    if (t->state == TLS_CLOSED || t->state == TLS_FAILED)
        return t->state; /* nothing after the end counts */
    if (!fifo_add(&t->in, ciphertext)) {
        ERR_clear_error();
        fail(t, "too much ciphertext waits");
    } else if (t->state == TLS_HANDSHAKING) {
        turn_handshake(t);
    }
    return t->state;
}

/* SSL_read gave nothing. */
static void no_plaintext(struct tls_engine *t)
{
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return;
    case SSL_ERROR_ZERO_RETURN:
        t->state = TLS_CLOSED;
        return;
    default:
        fail(t, "the connection broke");
    }
}

/* Each demand for new keys (TLS 1.3), or for a handshake (1.2), is answered by OpenSSL while it
 * reads: a peer that asks for ever and takes nothing would fill our memory. */
static void count_answers(struct tls_engine *t, size_t before)
{
    t->answers += fifo_size(&t->out) - before;
    if (t->answers <= TLS_ANSWERS_MAX || t->state != TLS_OPEN)
        return;
    ERR_clear_error();
    fail(t, "the peer asks for answers and does not read them");
}

/* Whether reading may give something. OpenSSL takes a record's octets from us one record at a time,
 * so what it has not seen is ours; asked in vain it takes memory for a record and gives it back. */
static bool has_input(const struct tls_engine *t)
{
    return fifo_size(&t->in) > 0 || SSL_pending(t->ssl) > 0;
}

enum tls_state tls_engine_read(struct tls_engine *t, struct buf *out, size_t max_bytes)
{
    while (t->state == TLS_OPEN && max_bytes > 0 && out->n < out->max && has_input(t)) {
        size_t want = max_bytes < SSL3_RT_MAX_PLAIN_LENGTH ? max_bytes : SSL3_RT_MAX_PLAIN_LENGTH;
        if (want > out->max - out->n)
            want = out->max - out->n;
        uint8_t *to = buf_reserve(out, want);
        const size_t before = fifo_size(&t->out);
        size_t n = 0;
        MUST(to);
        ERR_clear_error();
        const bool some = SSL_read_ex(t->ssl, to, want, &n);
        if (!some)
            no_plaintext(t);
        count_answers(t, before);
        if (!some)
            break;
        buf_commit(out, n);
        max_bytes -= n;
    }
    return t->state;
}

static bool can_send(const struct tls_engine *t)
{
    return t->state == TLS_OPEN || t->state == TLS_CLOSED;
}

enum tls_state tls_engine_write(struct tls_engine *t, struct slice plaintext)
{
    size_t n = 0;
    if (!can_send(t) || plaintext.n == 0)
        return t->state;
    ERR_clear_error();
    /* The BIO takes everything and renegotiation is off: there is neither a part nor a WANT_READ.
     */
    if (!SSL_write_ex(t->ssl, plaintext.p, plaintext.n, &n) || n != plaintext.n)
        fail(t, "cannot encrypt");
    return t->state;
}

void tls_engine_close(struct tls_engine *t)
{
    if (!can_send(t))
        return;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}

struct slice tls_engine_output(struct tls_engine *t)
{
    return fifo_slice(&t->out);
}

bool tls_engine_is_pressing(const struct tls_engine *t)
{
    return fifo_size(&t->out) > t->can_wait;
}

void tls_engine_sent(struct tls_engine *t, size_t n)
{
    t->can_wait = 0;
    fifo_take(&t->out, n);
    if (fifo_size(&t->out) == 0)
        t->answers = 0;
}

struct tls_info tls_engine_info(const struct tls_engine *t)
{
    return (struct tls_info){
        .version = SSL_get_version(t->ssl),
        .cipher = SSL_get_cipher_name(t->ssl),
        /* Without a policy that checks, nothing is verified, whatever the chain looks like. */
        .verified = SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE &&
                    SSL_get0_peer_certificate(t->ssl) && SSL_get_verify_result(t->ssl) == X509_V_OK,
        .resumed = SSL_session_reused(t->ssl) == 1,
    };
}

struct ssl_st *tls_engine_ssl(const struct tls_engine *t)
{
    return t->ssl;
}

bool tls_engine_unverified(const struct tls_engine *t)
{
    return t->unverified;
}

const char *tls_engine_error(const struct tls_engine *t)
{
    return t->error;
}
