/* What is remembered of the hosts of a `relay` list. What breaks for a user: an account is locked
 * because of too many wrong logins, or mail never comes back to the first provider. */
#include "relay/base/must.h"
#include "relay/outbound/hosts.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define D "smarthost"
#define A "a.test:587"
enum { OLD = 1, CONF = 2, NEXT = 3 };
static const struct out_host here = {CONF, D, A};

static struct out_hosts *hosts_new(void)
{
    struct out_hosts *h = out_hosts_new();
    out_hosts_reload(h, CONF);
    return h;
}

static struct mono at(int64_t s)
{
    return (struct mono){.ms = 1000000 + s * 1000};
}

static bool fails(struct out_hosts *h, enum fault f, enum phase phase, struct mono now)
{
    struct verdict v = verdict_of_fault(f, phase, SLICE_LIT("why"));
    bool news = out_hosts_failed(h, &here, &v, now);
    verdict_done(&v);
    return news;
}

static enum out_host_state look(struct out_hosts *h, struct mono now)
{
    return out_hosts_look(h, &here, now);
}

/* 58: it is asked last until its time has come; then by one connection, and after a success again
 * first. */
static void failover_and_back(void **state)
{
    (void)state;
    struct out_hosts *h = hosts_new();
    const struct out_host other = {CONF, "other", A}, beside = {CONF, D, "b.test:587"};
    assert_int_equal(look(h, at(0)), OUT_HOST_FINE);
    assert_true(fails(h, FAULT_CONNECT_REFUSED, PHASE_CONNECT, at(0)));
    assert_int_equal(look(h, at(0)), OUT_HOST_AVOIDED);
    assert_int_equal(look(h, at(4)), OUT_HOST_AVOIDED);
    assert_int_equal(out_hosts_look(h, &other, at(0)), OUT_HOST_FINE);
    assert_int_equal(out_hosts_look(h, &beside, at(0)), OUT_HOST_FINE);
    assert_int_equal(look(h, at(5)), OUT_HOST_FINE);
    assert_int_equal(look(h, at(5)), OUT_HOST_AVOIDED); /* one is enough */
    assert_false(fails(h, FAULT_CONNECT_TIMEOUT, PHASE_CONNECT, at(5)));
    assert_int_equal(look(h, at(14)), OUT_HOST_AVOIDED); /* twice as long */
    assert_int_equal(look(h, at(15)), OUT_HOST_FINE);
    assert_int_equal(out_hosts_works(h, &here), OUT_HOST_AVOIDED);
    assert_int_equal(look(h, at(15)), OUT_HOST_FINE);
    assert_int_equal(out_hosts_works(h, &here), OUT_HOST_FINE);
    assert_true(fails(h, FAULT_CONN_LOST, PHASE_BANNER, at(20))); /* and begins anew */
    assert_int_equal(look(h, at(25)), OUT_HOST_FINE);
    out_hosts_free(h);
}

static void pauses_have_an_end(void **state)
{
    (void)state;
    struct out_hosts *h = hosts_new();
    for (int i = 0; i < 100; i++)
        fails(h, FAULT_CONNECT_REFUSED, PHASE_CONNECT, at(0));
    assert_int_equal(look(h, at(299)), OUT_HOST_AVOIDED);
    assert_int_equal(look(h, at(300)), OUT_HOST_FINE);
    for (int i = 0; i < 100; i++)
        fails(h, FAULT_LOGIN, PHASE_AUTH, at(0));
    assert_int_equal(look(h, at(1799)), OUT_HOST_BARRED);
    assert_int_equal(look(h, at(1800)), OUT_HOST_FINE);
    out_hosts_free(h);
}

/* 75: of many connections one tries; what it finds counts for all. */
static void one_login_at_a_time(void **state)
{
    (void)state;
    struct out_hosts *h = hosts_new();
    assert_int_equal(out_hosts_login(h, &here, at(0)), OUT_LOGIN_GO);
    for (int i = 0; i < 20; i++)
        assert_int_equal(out_hosts_login(h, &here, at(1)), OUT_LOGIN_WAIT);
    assert_true(fails(h, FAULT_LOGIN, PHASE_AUTH, at(2)));
    for (int i = 0; i < 20; i++)
        assert_int_equal(out_hosts_login(h, &here, at(2)), OUT_LOGIN_NO);
    char *why = out_hosts_why(h, &here);
    assert_non_null(strstr(why, "why"));
    free(why);
    assert_int_equal(look(h, at(61)), OUT_HOST_BARRED);
    assert_int_equal(look(h, at(62)), OUT_HOST_FINE);
    assert_int_equal(look(h, at(62)), OUT_HOST_BARRED);
    assert_int_equal(out_hosts_login(h, &here, at(62)), OUT_LOGIN_GO);
    assert_int_equal(out_hosts_login(h, &here, at(62)), OUT_LOGIN_NO);
    assert_int_equal(out_hosts_works(h, &here), OUT_HOST_BARRED);
    for (int i = 0; i < 20; i++) /* proved: all at once */
        assert_int_equal(out_hosts_login(h, &here, at(63)), OUT_LOGIN_GO);
    out_hosts_free(h);
}

/* One that never tells how it went is not waited for for ever; nor is a broken connection a refused
 * login. */
static void the_first_is_lost(void **state)
{
    (void)state;
    struct out_hosts *h = hosts_new();
    assert_int_equal(out_hosts_login(h, &here, at(0)), OUT_LOGIN_GO);
    assert_int_equal(out_hosts_login(h, &here, at(59)), OUT_LOGIN_WAIT);
    assert_int_equal(out_hosts_login(h, &here, at(60)), OUT_LOGIN_GO);
    assert_int_equal(out_hosts_login(h, &here, at(61)), OUT_LOGIN_WAIT);
    assert_true(fails(h, FAULT_CONN_LOST, PHASE_BANNER, at(62)));
    assert_int_equal(out_hosts_login(h, &here, at(62)), OUT_LOGIN_GO);
    out_hosts_free(h);
}

static void count(void *ctx, const struct out_host_view *v)
{
    unsigned *n = ctx;
    assert_string_equal(v->destination, D);
    assert_string_equal(v->host, A);
    assert_int_equal(v->state, OUT_HOST_BARRED);
    assert_int_equal(v->again_ms, 50000);
    ++*n;
}

static void only_trouble_is_shown(void **state)
{
    (void)state;
    struct out_hosts *h = hosts_new();
    unsigned n = 0;
    out_hosts_works(h, &here);
    out_hosts_login(h, &here, at(0));
    out_hosts_works(h, &here);
    out_hosts_each(h, at(0), count, &n);
    assert_int_equal(n, 0);
    fails(h, FAULT_LOGIN, PHASE_AUTH, at(0));
    out_hosts_each(h, at(10), count, &n);
    assert_int_equal(n, 1);
    out_hosts_free(h);
}

/* How long mail has to wait that no host may be asked for; asking changes nothing. */
static void how_long_it_is_barred(void **state)
{
    (void)state;
    struct out_hosts *h = hosts_new();
    assert_int_equal(out_hosts_barred_ms(h, &here, at(0)), 0);
    fails(h, FAULT_CONNECT_REFUSED, PHASE_CONNECT, at(0));
    assert_int_equal(out_hosts_barred_ms(h, &here, at(0)), 0); /* it is asked last, but it is */
    fails(h, FAULT_LOGIN, PHASE_AUTH, at(0));
    for (int i = 0; i < 3; i++)
        assert_int_equal(out_hosts_barred_ms(h, &here, at(10)), 50000);
    assert_int_equal(out_hosts_barred_ms(h, &here, at(60)), 0);
    assert_int_equal(look(h, at(60)), OUT_HOST_FINE);
    out_hosts_free(h);
}

/* After a reload the new password is tried at once; a login by the old one that is still under way
 * neither bars the host to it, nor is it repeated by those that are under way beside it. */
static void a_reload_begins_anew(void **state)
{
    (void)state;
    struct out_hosts *h = out_hosts_new();
    const struct out_host old = {OLD, D, A}, next = {NEXT, D, A};
    struct verdict v = verdict_of_fault(FAULT_LOGIN, PHASE_AUTH, SLICE_NONE);
    unsigned n = 0;
    out_hosts_reload(h, OLD);
    assert_int_equal(out_hosts_login(h, &old, at(0)), OUT_LOGIN_GO);
    out_hosts_reload(h, CONF);
    assert_int_equal(out_hosts_login(h, &here, at(1)), OUT_LOGIN_GO);
    assert_int_equal(out_hosts_login(h, &old, at(1)), OUT_LOGIN_WAIT);
    assert_true(out_hosts_failed(h, &old, &v, at(2)));
    assert_int_equal(out_hosts_login(h, &old, at(2)), OUT_LOGIN_NO);
    assert_int_equal(out_hosts_barred_ms(h, &here, at(2)), 0);
    assert_int_equal(look(h, at(2)), OUT_HOST_FINE);
    out_hosts_each(h, at(2), count, &n);
    assert_int_equal(n, 0);
    assert_int_equal(out_hosts_works(h, &here), OUT_HOST_FINE);
    out_hosts_reload(h, NEXT); /* the first one is forgotten now */
    assert_int_equal(out_hosts_look(h, &old, at(3)), OUT_HOST_FINE);
    assert_int_equal(out_hosts_login(h, &next, at(3)), OUT_LOGIN_GO);
    verdict_done(&v);
    out_hosts_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failover_and_back),     cmocka_unit_test(pauses_have_an_end),
        cmocka_unit_test(one_login_at_a_time),   cmocka_unit_test(the_first_is_lost),
        cmocka_unit_test(only_trouble_is_shown), cmocka_unit_test(how_long_it_is_barred),
        cmocka_unit_test(a_reload_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
