/* Sessions that a client keeps, as octets: OpenSSL's own objects hold whole certificates in pieces,
 * ten times as big. What was verified is in them: the peer's certificate, and what was found. */
#include "relay/tls/session.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

struct tls_session {
    struct frozen frozen;
    int64_t lifetime_s;
    bool once;
    size_t n;
    uint8_t octets[];
};

static void session_free(struct frozen *f)
{
    struct tls_session *s = (struct tls_session *)(void *)f;
    OPENSSL_cleanse(s->octets, s->n); /* who has them reads what was said */
    free(s);
}

struct tls_session *tls_session_ref(struct tls_session *s)
{
    return s ? (struct tls_session *)(void *)frozen_ref(&s->frozen) : NULL;
}

void tls_session_unref(struct tls_session *s)
{
    frozen_unref(s ? &s->frozen : NULL);
}

bool tls_session_once(const struct tls_session *s)
{
    return s->once;
}

int64_t tls_session_lifetime_s(const struct tls_session *s)
{
    return s->lifetime_s;
}

struct tls_session *session_of(SSL_SESSION *from)
{
    int n = SSL_SESSION_is_resumable(from) ? i2d_SSL_SESSION(from, NULL) : 0;
    long lifetime_s = SSL_SESSION_get_timeout(from);
    if (n <= 0 || n > TLS_SESSION_MAX || lifetime_s <= 0)
        return NULL;
    struct tls_session *s = must_alloc(sizeof *s + (size_t)n);
    frozen_init(&s->frozen, session_free);
    s->lifetime_s = lifetime_s;
    s->once = SSL_SESSION_get_protocol_version(from) >= TLS1_3_VERSION;
    s->n = (size_t)n;
    uint8_t *end = s->octets;
    MUST(i2d_SSL_SESSION(from, &end) == n);
    return s;
}

/* RFC 6125, as in a handshake that verifies (tls_expect_name). */
static bool is_for(X509 *x, struct slice name)
{
    DEFER_FREE char *text = slice_dup(name);
    int by_address = X509_check_ip_asc(x, text, 0); /* -2: it is no address */
    if (by_address != -2)
        return by_address == 1;
    return name.n && X509_check_host(x, text, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static bool still_good(SSL_SESSION *session, struct slice name)
{
    X509 *x = SSL_SESSION_get0_peer(session);
    return x && X509_cmp_current_time(X509_get0_notBefore(x)) < 0 &&
           X509_cmp_current_time(X509_get0_notAfter(x)) > 0 && is_for(x, name);
}

bool session_offer(SSL *ssl, const struct tls_session *s, struct slice name)
{
    const uint8_t *p = s->octets;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &p, (long)s->n);
    bool counts = SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
    bool ok = session && (!counts || still_good(session, name)) && SSL_set_session(ssl, session);
    SSL_SESSION_free(session);
    if (ok && counts && SSL_get_verify_result(ssl) != X509_V_OK) {
        SSL_set_session(ssl, NULL); /* begun where nobody looked at the certificate */
        ok = false;
    }
    ERR_clear_error();
    return ok;
}
