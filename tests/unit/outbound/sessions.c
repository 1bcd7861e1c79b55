/* What is kept of TLS sessions: how many, for how long, for whom. If this breaks, memory grows with
 * the receivers, or a session goes to those who did not get it (checklist 85). */
#include "relay/outbound/sessions.h"
#include "relay/conf/conf.h"
#include "tests/unit/tls/pair.h"
#include <unistd.h>

#define HOUR_MS (INT64_C(60) * 60 * 1000)
#define KEY(text) slice_of(text, sizeof(text) - 1)

static struct tls_session *of_12, *of_13; /* the ground of all; tests refer to them */

/* For two hours, as our own server says. */
static struct tls_session *get_session(int version)
{
    struct rng r;
    rng_seed(&r, 1);
    SSL_CTX_set_max_proto_version(client_context->ssl_ctx, version);
    struct pair p = {
        .client = tls_engine_resume(client_context, SLICE_LIT("mx.test"), NULL),
        .server = tls_engine_new(server_context, true, SLICE_NONE),
        .at_client = BUF_MAX(65536),
        .at_server = BUF_MAX(65536),
    };
    exchange(&p, &r, 0);
    struct tls_session *s = tls_engine_take_session(p.client);
    assert_non_null(s);
    pair_free(&p);
    return s;
}

static int make_sessions(void **state)
{
    make_contexts(state);
    of_12 = get_session(TLS1_2_VERSION);
    of_13 = get_session(TLS1_3_VERSION);
    assert_false(tls_session_once(of_12));
    assert_true(tls_session_once(of_13));
    return 0;
}

static int free_sessions(void **state)
{
    tls_session_unref(of_12);
    tls_session_unref(of_13);
    return free_contexts(state);
}

static struct mono at(int64_t ms)
{
    return (struct mono){1000000 + ms};
}

static void put(struct out_sessions *c, struct slice whose, struct tls_session *s, int64_t full,
                int64_t now)
{
    out_sessions_put(c, whose, (struct out_session){tls_session_ref(s), at(full)}, at(now));
}

/* Which it is; its reference is given back, the cache's or ours stays. */
static const struct tls_session *get(struct out_sessions *c, struct slice whose, int64_t now)
{
    struct out_session s = out_sessions_get(c, whose, at(now));
    tls_session_unref(s.tls);
    return s.tls;
}

static void once_or_more_often(void **state)
{
    (void)state;
    struct out_sessions *c = out_sessions_new(HOUR_MS);
    put(c, KEY("a"), of_12, 0, 0);
    put(c, KEY("b"), of_13, 0, 0);
    put(c, KEY("b"), of_13, 5, 5);
    put(c, KEY("c"), NULL, 0, 0);
    assert_int_equal(out_sessions_count(c), 3);
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(get(c, KEY("a"), 10), of_12);
    struct out_session newest = out_sessions_get(c, KEY("b"), at(10));
    assert_ptr_equal(newest.tls, of_13);
    assert_int_equal(newest.full.ms, at(5).ms);
    tls_session_unref(newest.tls);
    assert_ptr_equal(get(c, KEY("b"), 10), of_13);
    assert_null(get(c, KEY("b"), 10));
    assert_int_equal(out_sessions_count(c), 1);
    out_sessions_free(c);
}

static void by_the_whole_key(void **state)
{
    (void)state;
    struct out_sessions *c = out_sessions_new(HOUR_MS);
    put(c, KEY("one\0two"), of_12, 0, 0);
    assert_null(get(c, KEY("one"), 0));
    assert_null(get(c, KEY("one\0twO"), 0));
    assert_null(get(c, KEY("one\0two\0"), 0));
    assert_ptr_equal(get(c, KEY("one\0two"), 0), of_12);
    out_sessions_free(c);
}

/* Those that one connection was given are as many as come after it. */
static void newest_first(void **state)
{
    (void)state;
    struct out_sessions *c = out_sessions_new(HOUR_MS);
    for (int64_t i = 0; i < 3; i++)
        put(c, KEY("a"), of_13, i, 5);
    for (int64_t i = 2; i >= 0; i--) {
        struct out_session s = out_sessions_get(c, KEY("a"), at(10));
        assert_ptr_equal(s.tls, of_13);
        assert_int_equal(s.full.ms, at(i).ms);
        tls_session_unref(s.tls);
    }
    assert_null(get(c, KEY("a"), 10));
    out_sessions_free(c);
}

static int64_t limit_of_real_life(void)
{
    char path[] = "/tmp/unit_sessions_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "hostname = relay.test\nlistener \"l\" { address = { \"127.0.0.1:1\" } tls = none "
                "auth = none trust = { \"127.0.0.1\" } }\n");
    close(fd);
    struct conf *conf = conf_load(path, (void (*)(void *, const char *))(void *)0, NULL);
    unlink(path);
    assert_non_null(conf);
    int64_t ms = conf->debug_session_ms;
    conf_unref(conf);
    return ms;
}

/* An hour after the full handshake, however late it was renewed. */
static void not_for_ever(void **state)
{
    (void)state;
    assert_int_equal(limit_of_real_life(), HOUR_MS);
    struct out_sessions *c = out_sessions_new(HOUR_MS);
    put(c, KEY("a"), of_12, 0, HOUR_MS - 1);
    assert_ptr_equal(get(c, KEY("a"), HOUR_MS - 1), of_12);
    assert_null(get(c, KEY("a"), HOUR_MS));
    assert_int_equal(out_sessions_count(c), 0);
    put(c, KEY("a"), of_12, 0, HOUR_MS);
    assert_int_equal(out_sessions_count(c), 0);
    out_sessions_free(c);
}

static void bounds(void **state)
{
    (void)state;
    struct out_sessions *c = out_sessions_new(HOUR_MS);
    for (int64_t i = 0; i < 3 * OUT_SESSIONS_PER_KEY; i++)
        put(c, KEY("a"), of_13, i, i);
    assert_int_equal(out_sessions_count(c), OUT_SESSIONS_PER_KEY);
    char whose[16];
    for (int i = 0; i < OUT_SESSIONS_MAX - OUT_SESSIONS_PER_KEY; i++) {
        snprintf(whose, sizeof whose, "k%d", i);
        put(c, slice_str(whose), of_12, 0, 0);
    }
    assert_int_equal(out_sessions_count(c), OUT_SESSIONS_MAX);
    assert_ptr_equal(get(c, KEY("k0"), 1), of_12); /* needed: others go first */
    put(c, KEY("more"), of_12, 0, 0);
    assert_int_equal(out_sessions_count(c), OUT_SESSIONS_MAX + 1 - OUT_SESSIONS_PER_KEY);
    assert_null(get(c, KEY("a"), 1));
    for (int i = 0; i < OUT_SESSIONS_PER_KEY; i++) {
        snprintf(whose, sizeof whose, "m%d", i);
        put(c, slice_str(whose), of_12, 0, 0);
    }
    assert_int_equal(out_sessions_count(c), OUT_SESSIONS_MAX);
    assert_null(get(c, KEY("k1"), 1));
    assert_ptr_equal(get(c, KEY("k0"), 1), of_12);
    assert_ptr_equal(get(c, KEY("more"), 1), of_12);
    out_sessions_free(c);
}

static void forgotten(void **state)
{
    (void)state;
    struct out_sessions *c = out_sessions_new(HOUR_MS);
    put(c, KEY("a"), of_13, 0, 0);
    put(c, KEY("a"), of_13, 0, 0);
    put(c, KEY("b"), of_12, 0, 0);
    out_sessions_forget(c, KEY("a"));
    out_sessions_forget(c, KEY("never there"));
    assert_null(get(c, KEY("a"), 0));
    assert_ptr_equal(get(c, KEY("b"), 0), of_12);
    out_sessions_forget_all(c);
    assert_null(get(c, KEY("b"), 0));
    assert_int_equal(out_sessions_count(c), 0);
    out_sessions_free(c);
    out_sessions_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_or_more_often), cmocka_unit_test(by_the_whole_key),
        cmocka_unit_test(not_for_ever),       cmocka_unit_test(bounds),
        cmocka_unit_test(forgotten),          cmocka_unit_test(newest_first),
    };
    return cmocka_run_group_tests(tests, make_sessions, free_sessions);
}
