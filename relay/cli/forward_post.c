#include "relay/cli/forward_post.h"
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 10000, WAIT_MAX_S = 3600 };

struct poster {
    CURL *curl;
    struct poster_conf conf;
    char why[CURL_ERROR_SIZE];
};

void poster_sign(char ret[POSTER_SIGNATURE_SIZE], struct slice secret, int64_t at_s,
                 struct slice body)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    DEFER(buf_done) struct buf text = BUF_MAX(body.n + 32);
    buf_addf(&text, "%" PRId64 ".", at_s);
    buf_add(&text, body);
    MUST(HMAC(EVP_sha256(), secret.p, (int)secret.n, text.p, text.n, digest, &n));
    int at = snprintf(ret, POSTER_SIGNATURE_SIZE, "t=%" PRId64 ",v1=", at_s);
    for (unsigned i = 0; i < n && at + 2 < POSTER_SIGNATURE_SIZE; i++)
        at += snprintf(ret + at, 3, "%02x", digest[i]);
}

/* ---- the URL ---- */

static bool is_this_host(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           strncmp(host, "127.", 4) == 0;
}

static int check_url(const struct poster_conf *c, struct err *e)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL;
    MUST(u);
    int rc = 0;
    if (curl_url_set(u, CURLUPART_URL, c->url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        rc = err_set(e, -EINVAL, "%s is not a URL such as https://example.com/hook", c->url);
    else if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        rc = err_set(e, -EINVAL, "%s: only https and http can be posted to", c->url);
    else if (strcmp(scheme, "http") == 0 && !is_this_host(host) && !c->in_clear)
        rc = err_set(e, -EINVAL,
                     "%s: addresses of people would go through the network in clear: use https "
                     "(or, in a closed network, --in-clear)",
                     c->url);
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return rc;
}

/* ---- posting ---- */

static int on_progress(void *ctx, curl_off_t down, curl_off_t down_now, curl_off_t up,
                       curl_off_t up_now)
{
    const struct poster *p = ctx;
    (void)down, (void)down_now, (void)up, (void)up_now;
    return *p->conf.stop;
}

/* What the receiver says beside its status is nobody's. */
static size_t pass_over(char *data, size_t size, size_t n, void *ctx)
{
    (void)data, (void)ctx;
    return size * n;
}

int poster_new(struct poster **ret, const struct poster_conf *c, struct err *e)
{
    int rc = check_url(c, e);
    if (rc < 0)
        return rc;
    struct poster *p = must_alloc(sizeof *p);
    MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK && (p->curl = curl_easy_init()));
    p->conf = *c;
    CURL *h = p->curl;
    curl_easy_setopt(h, CURLOPT_URL, c->url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "postwain/" PW_VERSION);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, p->why);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, pass_over);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, p);
    if (c->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, c->ca_file);
    *ret = p;
    return 0;
}

void poster_free(struct poster *p)
{
    if (!p)
        return;
    curl_easy_cleanup(p->curl);
    curl_global_cleanup();
    free(p);
}

static struct curl_slist *headers(const struct poster *p, struct slice body, const char *batch)
{
    char text[256], signature[POSTER_SIGNATURE_SIZE];
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/x-ndjson");
    list = curl_slist_append(list, "Expect:"); /* no round trip before a megabyte */
    snprintf(text, sizeof text, "Idempotency-Key: %s", batch);
    list = curl_slist_append(list, text);
    if (p->conf.secret.n > 0) {
        poster_sign(signature, p->conf.secret, wall_now().us / WALL_SECOND, body);
        snprintf(text, sizeof text, "Postwain-Signature: %s", signature);
        list = curl_slist_append(list, text);
    }
    MUST(list);
    return list;
}

int poster_send(struct poster *p, struct slice body, const char *batch, int64_t *ret_wait_s,
                struct err *e)
{
    long status = 0;
    curl_off_t wait = 0;
    struct curl_slist *list = headers(p, body, batch);
    p->why[0] = 0;
    curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, body.p);
    CURLcode rc = curl_easy_perform(p->curl);
    curl_slist_free_all(list);
    *ret_wait_s = 0;
    if (rc != CURLE_OK) {
        err_set(e, -EIO, "%s", p->why[0] ? p->why : curl_easy_strerror(rc));
        return 0;
    }
    curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
    if (curl_easy_getinfo(p->curl, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK)
        *ret_wait_s = wait > WAIT_MAX_S ? WAIT_MAX_S : (int64_t)wait;
    if (status / 100 != 2)
        err_set(e, -EIO, "the answer was %ld", status);
    return (int)status;
}
