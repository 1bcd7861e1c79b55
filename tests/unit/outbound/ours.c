/* Whose fault it is that nobody could be called (promise 10). If this breaks, mail burns its
 * attempts, or goes back, because this machine has lost an address; or it never ends, though the
 * receiver is what does not work. */
#include "tests/unit/outbound/world.h"

#define BODY "Subject: x\r\n\r\nhello\r\n"
/* For documentation (RFC 5737, RFC 3849): no machine has them. */
#define NOT_OURS_4 "192.0.2.77"
#define NOT_OURS_6 "2001:db8::77"

static void host_is(struct plan *p, unsigned i, const struct world *w, bool six)
{
    if (!six) /* where nobody listens */
        ((struct sockaddr_in *)&p->hosts[i].addrs[0])->sin_addr.s_addr = htonl(0x7f000009);
    else
        *(struct sockaddr_in6 *)&p->hosts[i].addrs[0] =
            (struct sockaddr_in6){.sin6_family = AF_INET6,
                                  .sin6_port = htons(w->port),
                                  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
}

static void expect(struct world *w, enum fault fault)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DEFERRED);
    assert_int_equal(r->verdicts[0].fault, fault);
    assert_int_equal(r->verdicts[0].phase, PHASE_CONNECT);
    if (fault == FAULT_LOCAL)
        assert_non_null(strstr(r->verdicts[0].text, " is not an address of this machine"));
    spooler_result_free(r);
    told_gone(w);
}

static void an_address_that_is_gone(void **state)
{
    (void)state;
    struct world *w = world_new(1, "source = { \"" NOT_OURS_4 "\" }");
    order(w, opening(work(1, BODY, 1), plan_of(w, 1)));
    expect(w, FAULT_LOCAL);
    nobody_calls(w, 0);
    world_free(w);
}

/* The address is there for one family and not for the other: what a receiver does is what counts,
 * in whichever order they are called. */
static void what_a_receiver_does_counts(void **state)
{
    (void)state;
    for (unsigned six_first = 0; six_first < 2; six_first++) {
        struct world *w = world_new(1, "source = { \"127.0.0.1\", \"" NOT_OURS_6 "\" }");
        struct plan *p = plan_of(w, 2);
        host_is(p, six_first ? 0 : 1, w, true);
        host_is(p, six_first ? 1 : 0, w, false);
        order(w, opening(work(1, BODY, 1), p));
        expect(w, FAULT_CONNECT_REFUSED);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_that_is_gone),
        cmocka_unit_test(what_a_receiver_does_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
