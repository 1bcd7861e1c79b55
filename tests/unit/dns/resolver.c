/* The resolver against a small name server of this test's own, over UDP on loopback. If one fails,
 * the relay asks too often, waits for ever, takes a forged answer, or makes "no such domain" of a
 * server that is down. */
#include "dns/resolver.h"
#include "relay/base/defer.h"
#include "tests/unit/dns/server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- one loop with one resolver --- */

struct bench {
    struct loop *loop;
    struct resolver *r;
    int before;                    /* questions that had come when it began */
    size_t waiting;                /* answers to come before `then` */
    void (*then)(struct bench *b); /* NULL: stop */
    struct deadline pause;
    struct dns_answer *answers[64];
    size_t n;
};

/* For an answer that comes; whoever does not answer is given little time. */
enum { PATIENCE_MS = 90000, LITTLE_MS = 600 };

static int64_t time_for(const char *name)
{
    return strncmp(name, "mute", 4) == 0 ? LITTLE_MS : PATIENCE_MS;
}

static struct resolver_conf conf(void)
{
    return (struct resolver_conf){.servers = server.servers, .timeout_ms = PATIENCE_MS};
}

static void bench_init(struct bench *b, const struct resolver_conf *c)
{
    struct err e = {0};
    *b = (struct bench){.loop = loop_new("test", 0), .before = atomic_load(&server.asked)};
    if (resolver_new(&b->r, b->loop, c, &e) < 0)
        fail_msg("%s", e.text);
}

static int asked(const struct bench *b)
{
    return atomic_load(&server.asked) - b->before;
}

static void step(struct bench *b)
{
    void (*then)(struct bench * b) = b->then;
    b->then = NULL;
    if (then)
        then(b);
    else
        loop_stop(b->loop);
}

static void on_answer(void *ctx, struct dns_answer *a)
{
    struct bench *b = ctx;
    b->answers[b->n++] = dns_answer_ref(a);
    if (--b->waiting == 0)
        step(b);
}

static void ask(struct bench *b, const char *name, enum dns_type type)
{
    b->waiting++;
    resolver_ask(b->r, slice_str(name), type, on_answer, b);
}

static void on_pause(void *ctx, struct mono now)
{
    (void)now;
    struct bench *b = ctx;
    deadline_close(&b->pause, NULL);
    step(b);
}

static void pause_then(struct bench *b, int64_t ms, void (*then)(struct bench *b))
{
    b->then = then;
    deadline_init(b->loop, &b->pause, on_pause, b);
    deadline_set(b->loop, &b->pause, mono_add(loop_now(b->loop), ms));
}

static void run(struct bench *b)
{
    loop_run_here(b->loop);
}

static void bench_done(struct bench *b)
{
    resolver_free(b->r);
    for (size_t i = 0; i < b->n; i++)
        dns_answer_unref(b->answers[i]);
    loop_free(b->loop);
}

/* --- what is asked and what is heard --- */

static const struct {
    const char *name;
    enum dns_type type;
    enum dns_status status;
    uint32_t ttl_s;
} rows[] = {
    {"ok.test", DNS_A, DNS_OK, 60},
    {"OK2.Test.", DNS_A, DNS_OK, 60},
    {"six.test", DNS_AAAA, DNS_OK, 60},
    {"mail.test", DNS_MX, DNS_OK, 60},
    {"none.test", DNS_A, DNS_NODATA, 60},
    {"nx.test", DNS_MX, DNS_NXDOMAIN, 60},
    {"fail.test", DNS_MX, DNS_SERVFAIL, 5}, /* 35: never "no MX" */
    {"refused.test", DNS_MX, DNS_SERVFAIL, 5},
    {"junk.test", DNS_A, DNS_SERVFAIL, 5},
    {"forged.test", DNS_A, DNS_OK, 60}, /* promise 27 */
    {"mute.test", DNS_A, DNS_TIMEOUT, 5},
    {"b\xc3\xbc"
     "cher.test",
     DNS_A, DNS_OK, 60},
    {"no name", DNS_A, DNS_NXDOMAIN, 900},
    {"1.2.3.4", DNS_A, DNS_NXDOMAIN, 900},
    {"", DNS_MX, DNS_NXDOMAIN, 900},
};

static void row_answered(void *ctx, struct dns_answer *a)
{
    struct bench *b = ctx;
    dns_answer_unref(b->answers[0]);
    b->answers[0] = dns_answer_ref(a);
    loop_stop(b->loop);
}

static void test_statuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b;
        struct resolver_conf c = conf();
        c.timeout_ms = time_for(rows[i].name);
        bench_init(&b, &c);
        b.n = 1;
        resolver_ask(b.r, slice_str(rows[i].name), rows[i].type, row_answered, &b);
        run(&b);
        const struct dns_answer *a = b.answers[0];
        if (a->status != rows[i].status || a->ttl_s != rows[i].ttl_s)
            fail_msg("%s: %s for %u s", rows[i].name, dns_status_name(a->status), a->ttl_s);
        if (a->status == DNS_OK && rows[i].type == DNS_A)
            assert_memory_equal(a->ip[0].bytes, "\31\0\0\1", 4);
        bench_done(&b);
    }
}

static void ask_again(struct bench *b)
{
    assert_int_equal(asked(b), 1);
    ask(b, "ok-joined.test", DNS_A); /* answered at once, by the cache: step() stops the loop */
    assert_int_equal(b->n, 51);
}

static void test_equal_questions_are_joined(void **state)
{
    (void)state;
    struct bench b;
    struct resolver_conf c = conf();
    bench_init(&b, &c);
    b.then = ask_again;
    for (int i = 0; i < 50; i++)
        ask(&b, i % 2 ? "ok-joined.test" : "OK-Joined.test.", DNS_A);
    run(&b);
    assert_int_equal(asked(&b), 1);
    for (size_t i = 0; i < b.n; i++)
        assert_int_equal(b.answers[i]->status, DNS_OK);
    bench_done(&b);
}

static void ask_brief(struct bench *b)
{
    ask(b, "brief.test", DNS_A);
}

static void wait_out(struct bench *b)
{
    assert_int_equal(asked(b), 1);
    pause_then(b, 1200, ask_brief);
}

static void test_answer_expires(void **state) /* 48 */
{
    (void)state;
    struct bench b;
    struct resolver_conf c = conf();
    bench_init(&b, &c);
    b.then = wait_out;
    ask_brief(&b);
    run(&b);
    assert_int_equal(b.n, 2);
    assert_int_equal(asked(&b), 2);
    bench_done(&b);
}

static void flush_and_ask(struct bench *b)
{
    resolver_flush(b->r);
    ask(b, "ok-flush.test", DNS_A);
}

static void test_flush(void **state)
{
    (void)state;
    struct bench b;
    struct resolver_conf c = conf();
    bench_init(&b, &c);
    b.then = flush_and_ask;
    ask(&b, "ok-flush.test", DNS_A);
    run(&b);
    assert_int_equal(asked(&b), 2);
    bench_done(&b);
}

/* A server that never answers costs the time that was given, for all who wait; it is asked again
 * meanwhile, unless the machine stands still for that long. */
static void test_timeout(void **state)
{
    (void)state;
    int64_t took = INT64_MAX;
    for (unsigned k = 0; k < 20 && took >= LITTLE_MS + LITTLE_MS / 3; k++) {
        struct bench b;
        struct resolver_conf c = conf();
        if (k > 0)
            usleep(200000); /* its server hears the last of the time before */
        c.timeout_ms = LITTLE_MS;
        bench_init(&b, &c);
        const struct mono began = loop_now(b.loop);
        ask(&b, "mute-1.test", DNS_A);
        ask(&b, "mute-1.test", DNS_A);
        ask(&b, "mute-2.test", DNS_A);
        run(&b);
        took = mono_now().ms - began.ms;
        for (int i = 0; i < 1000 && asked(&b) < 4 && took < LITTLE_MS + LITTLE_MS / 3; i++)
            usleep(10000); /* they are on their way */
        assert_true(took >= LITTLE_MS - 10);
        assert_in_range(asked(&b), 2, 4);
        assert_true(asked(&b) == 4 || took >= LITTLE_MS + LITTLE_MS / 3);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(b.answers[i]->status, DNS_TIMEOUT);
        bench_done(&b);
    }
}

/* Servers that are down, or refuse, are passed over. */
static void test_second_server(void **state)
{
    (void)state;
    struct bench b;
    char servers[128];
    snprintf(servers, sizeof servers, "127.0.0.1:1,[::1]:1,%s", server.servers);
    struct resolver_conf c = conf();
    c.servers = servers;
    bench_init(&b, &c);
    ask(&b, "ok-second.test", DNS_A);
    run(&b);
    assert_int_equal(b.answers[0]->status, DNS_OK);
    bench_done(&b);
}

/* 96, promise 10: our trouble is never the domain's. One server that swallows the question may be
 * at work on it: that is no longer only ours. */
static void test_no_server(void **state)
{
    (void)state;
    char mixed[128];
    snprintf(mixed, sizeof mixed, "127.0.0.1:1,%s", server.servers);
    const struct {
        const char *servers, *name;
        enum dns_status status;
    } none[] = {{"127.0.0.1:1", "ok.test", DNS_NO_SERVER},
                {"127.0.0.1:1,[::1]:1", "ok.test", DNS_NO_SERVER},
                {mixed, "mute.test", DNS_TIMEOUT},
                {mixed, "fail.test", DNS_SERVFAIL}};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        struct bench b;
        struct resolver_conf c = conf();
        c.servers = none[i].servers;
        c.timeout_ms = time_for(none[i].name);
        bench_init(&b, &c);
        ask(&b, none[i].name, DNS_MX);
        run(&b);
        assert_int_equal(b.answers[0]->status, none[i].status);
        assert_true(b.answers[0]->ttl_s <= 5);
        bench_done(&b);
    }
}

static void test_no_search_domains(void **state) /* 45 */
{
    (void)state;
    struct bench b;
    setenv("LOCALDOMAIN", "search.test", 1);
    setenv("RES_OPTIONS", "ndots:5", 1);
    struct resolver_conf c = conf();
    bench_init(&b, &c);
    unsetenv("LOCALDOMAIN");
    unsetenv("RES_OPTIONS");
    ask(&b, "nx", DNS_A);
    run(&b);
    assert_int_equal(asked(&b), 1);
    pthread_mutex_lock(&server.lock);
    assert_string_equal(server.last_name, "nx");
    pthread_mutex_unlock(&server.lock);
    bench_done(&b);
}

/* Freed with questions open: each is answered, and what is asked in such an answer as well. */
static void ask_from_answer(void *ctx, struct dns_answer *a)
{
    struct bench *b = ctx;
    assert_int_equal(a->status, DNS_TIMEOUT);
    ask(b, "ok-late.test", DNS_A);
}

static void free_now(struct bench *b)
{
    resolver_free(b->r); /* answers still ask it */
    b->r = NULL;
    loop_stop(b->loop);
}

static void test_free_with_open_questions(void **state)
{
    (void)state;
    for (int on_loop = 0; on_loop < 2; on_loop++) {
        struct bench b;
        struct resolver_conf c = conf();
        bench_init(&b, &c);
        b.waiting = 100; /* never zero: the answers do not end the loop */
        resolver_ask(b.r, SLICE_LIT("mute-1.test"), DNS_A, ask_from_answer, &b);
        ask(&b, "mute-2.test", DNS_A);
        pause_then(&b, 50, on_loop ? free_now : NULL);
        run(&b);
        if (!on_loop)
            resolver_free(b.r);
        b.r = NULL;
        assert_int_equal(b.n, 2);
        assert_int_equal(b.answers[0]->status, DNS_TIMEOUT);
        assert_int_equal(b.answers[1]->status, DNS_TIMEOUT);
        bench_done(&b);
    }
}

static void test_bad_servers(void **state)
{
    (void)state;
    struct loop *l = loop_new("test", 0);
    struct resolver_conf c = {.servers = "not an address", .timeout_ms = 100};
    struct resolver *r = NULL;
    struct err e = {0};
    assert_true(resolver_new(&r, l, &c, &e) < 0);
    assert_null(r);
    assert_non_null(strstr(e.text, "not an address"));
    loop_free(l);
}

static void test_override_goes_before(void **state)
{
    (void)state;
    struct slice lines[] = {SLICE_LIT("nx.test A 25.0.0.7"), SLICE_LIT("ok.test NXDOMAIN")};
    struct bench b;
    struct resolver_conf c = conf();
    assert_int_equal(dns_override_new(&c.override, lines, 2, NULL), 0);
    bench_init(&b, &c);
    dns_override_unref(c.override); /* the resolver holds its own */
    ask(&b, "NX.test", DNS_A);
    ask(&b, "nx.test", DNS_MX);
    ask(&b, "ok.test", DNS_A);
    assert_int_equal(b.n, 3);
    assert_int_equal(b.answers[0]->status, DNS_OK);
    assert_int_equal(b.answers[1]->status, DNS_NODATA);
    assert_int_equal(b.answers[2]->status, DNS_NXDOMAIN);
    assert_int_equal(asked(&b), 0);
    bench_done(&b);
}

/* --- plans, the whole way --- */

static struct plan *made;

static void on_plan(void *ctx, struct plan *p)
{
    struct bench *b = ctx;
    plan_unref(made);
    made = p;
    loop_stop(b->loop);
}

static void plan_for(struct bench *b, const char *domain)
{
    const struct plan_options o = {.port = 25, .ipv4 = true, .ipv6 = true};
    resolver_plan(b->r, plan_maker_new(slice_str(domain), &o), on_plan, b);
}

static void test_plans(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        enum fault fault;
        const char *host;
    } plans[] = {
        {"mail.test", FAULT_NONE, "mx.test"},    {"ok.test", FAULT_NONE, "ok.test"},
        {"nx.test", FAULT_DNS_NXDOMAIN, NULL},   {"none.test", FAULT_DNS_NODATA, NULL},
        {"fail.test", FAULT_DNS_SERVFAIL, NULL}, {"mute.test", FAULT_DNS_TIMEOUT, NULL},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        struct bench b;
        struct resolver_conf c = conf();
        c.timeout_ms = time_for(plans[i].domain);
        bench_init(&b, &c);
        const struct mono began = loop_now(b.loop);
        plan_for(&b, plans[i].domain);
        run(&b);
        const int64_t took = mono_now().ms - began.ms;
        assert_int_equal(made->fault, plans[i].fault);
        assert_in_range(made->dns_ms, 0, took);
        if (plans[i].host) {
            assert_int_equal(made->n, 1);
            assert_string_equal(made->hosts[0].name, plans[i].host);
            assert_in_range(made->ttl_s, 59 - took / 1000, 60);
        }
        bench_done(&b);
    }
}

/* From the cache the plan is there before resolver_plan returns. */
static void plan_from_cache(struct bench *b)
{
    plan_unref(TAKE_PTR(made));
    plan_for(b, "mail.test");
    assert_non_null(made);
    assert_int_equal(made->fault, FAULT_NONE);
}

static void test_plan_from_cache(void **state)
{
    (void)state;
    struct bench b;
    struct resolver_conf c = conf();
    bench_init(&b, &c);
    b.then = plan_from_cache;
    ask(&b, "mail.test", DNS_MX);
    ask(&b, "mx.test", DNS_A);
    ask(&b, "mx.test", DNS_AAAA);
    run(&b);
    assert_int_equal(asked(&b), 3);
    bench_done(&b);
}

static void test_free_with_open_plan(void **state)
{
    (void)state;
    struct bench b;
    struct resolver_conf c = conf();
    bench_init(&b, &c);
    plan_unref(TAKE_PTR(made));
    plan_for(&b, "mute.test");
    resolver_free(TAKE_PTR(b.r));
    assert_non_null(made);
    assert_int_equal(made->fault, FAULT_DNS_TIMEOUT);
    plan_unref(TAKE_PTR(made));
    bench_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_equal_questions_are_joined),
        cmocka_unit_test(test_answer_expires),
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_second_server),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_no_search_domains),
        cmocka_unit_test(test_free_with_open_questions),
        cmocka_unit_test(test_bad_servers),
        cmocka_unit_test(test_override_goes_before),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_plan_from_cache),
        cmocka_unit_test(test_free_with_open_plan),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
