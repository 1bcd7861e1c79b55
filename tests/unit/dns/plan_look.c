/* What a plan was made of, for `explain`. If it breaks, a person is told of other answers than the
 * relay went by, or that an address is called which never is. */
#include "tests/unit/dns/zone.h"

static struct buf told;

static void see_answer(void *ctx, const struct plan_question *q, const struct dns_answer *a)
{
    (void)ctx;
    buf_addf(&told, "%s %d %s %zu; ", q->name, (int)q->type, dns_status_name(a->status), a->n);
}

static void see_address(void *ctx, const char *host, uint16_t preference, const struct dns_ip *ip,
                        uint16_t port, const char *why)
{
    (void)ctx;
    char text[INET6_ADDRSTRLEN] = "-";
    if (ip)
        inet_ntop(ip->family, ip->bytes, text, sizeof text);
    buf_addf(&told, "%u %s %s:%u %s; ", preference, host, text, port, why[0] ? why : "ok");
}

static const char *look(struct plan_maker *m, const char *zone)
{
    struct plan_question q;
    struct plan *p;
    buf_reset(&told);
    while (!(p = plan_maker_done(m))) {
        assert_true(plan_maker_next(m, &q));
        struct dns_answer *a = look_up(zone, &q);
        plan_maker_answer(m, &q, a);
        dns_answer_unref(a);
    }
    plan_maker_look(m, &(struct plan_look){see_answer, see_address, NULL});
    plan_unref(p);
    plan_maker_free(m);
    return buf_str(&told);
}

static const struct {
    unsigned flags;
    const char *zone, *told;
} rows[] = {
    {V4, "a.test MX 10 x.test; x.test A 25.0.0.1",
     "a.test 15 ok 1; x.test 1 ok 1; 10 x.test 25.0.0.1:25 ok; "},
    {V4, "a.test MX 10 x.test; x.test A 10.0.0.1; x.test A 25.0.0.1; x.test A 0.0.0.0",
     "a.test 15 ok 1; x.test 1 ok 3; "
     "10 x.test 10.0.0.1:25 a private address, which delivery.allow-private-addresses does not "
     "allow; 10 x.test 25.0.0.1:25 ok; "
     "10 x.test 0.0.0.0:25 never the address of a receiver; "},
    /* 41: ourselves by address, and whoever is behind us */
    {V4,
     "a.test MX 10 x.test; a.test MX 20 y.test; a.test MX 30 z.test; x.test A 25.0.0.1; y.test A "
     "25.9.9.9; z.test A 25.0.0.3",
     "a.test 15 ok 3; x.test 1 ok 1; y.test 1 ok 1; z.test 1 ok 1; 10 x.test 25.0.0.1:25 ok; "
     "20 y.test 25.9.9.9:25 this relay itself listens there; "
     "30 z.test 25.0.0.3:25 not preferred to this relay, which is an MX of the domain itself; "},
    {V4, "a.test MX 10 x.test; a.test MX 20 y.test; y.test A 25.0.0.1",
     "a.test 15 ok 2; x.test 1 nxdomain 0; y.test 1 ok 1; x.test 28 nxdomain 0; "
     "10 x.test -:25 does not exist; 20 y.test 25.0.0.1:25 ok; "},
    {V4, "a.test MX 0 .", "a.test 15 ok 1; "},
    {V4, "a.test MX !servfail", "a.test 15 servfail 0; "},
    /* 38: of a family that we do not send from */
    {V4, "a.test AAAA 2600::1",
     "a.test 15 nodata 0; a.test 1 nodata 0; a.test 28 ok 1; "
     "0 a.test 2600::1:25 the destination has no source address of this family; "},
};

static void what_it_was_made_of(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct plan_options o = options_of(rows[i].flags);
        assert_string_equal(look(plan_maker_new(SLICE_LIT("a.test"), &o), rows[i].zone),
                            rows[i].told);
    }
}

static void of_relays(void **state)
{
    (void)state;
    struct plan_options o = options_of(V4);
    const struct slice hosts[] = {SLICE_LIT("10.0.0.1:2525"), SLICE_LIT("x.test")};
    assert_string_equal(look(plan_maker_relay(hosts, 2, &o), "x.test A 10.0.0.2"),
                        "x.test 1 ok 1; 0  10.0.0.1:2525 ok; 1 x.test 10.0.0.2:25 ok; ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_was_made_of),
        cmocka_unit_test(of_relays),
    };
    told = BUF_MAX(4096);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&told);
    return rc;
}
