/* Which addresses are ours. What breaks for a user: mail goes round and round through this relay,
 * or a stranger's MX record makes it talk to what runs beside it. */
#include "dns/ip.h"
#include "tests/unit/outbound/world.h"

static bool has(const struct sockaddr_storage *list, size_t n, const char *address, uint16_t port)
{
    struct dns_ip want, one;
    uint16_t at;
    assert_true(dns_ip_parse(slice_str(address), &want));
    for (size_t i = 0; i < n; i++)
        if (dns_ip_of_sockaddr(&list[i], &one, &at) && dns_ip_eq(&one, &want) && at == port)
            return true;
    return false;
}

/* 41: where we listen, each address of the machine for a wildcard; and what leads here from
 * outside, on any port. 47: what the machine has. */
static void own_addresses(void **state)
{
    (void)state;
    struct world w = {.name_server_port = 53};
    struct outbound o = {0};
    o.conf = conf_of(&w, "} delivery { own-addresses = { \"192.0.2.77\", \"[2001:db8::77]\" } } "
                         "listener \"w\" { address = { \"0.0.0.0:2525\", \"192.0.2.5:587\" } "
                         "tls = none auth = none trust = { \"127.0.0.1\" } } "
                         "destination \"z\" { domains = { \"z.test\" }");
    for (unsigned i = 0; i < 2; i++) { /* a reload finds the same */
        out_own_addresses(&o);
        assert_true(has(o.own, o.n_own, "127.0.0.1", 1)); /* of conf_of */
        assert_true(has(o.own, o.n_own, "127.0.0.1", 2525));
        assert_true(has(o.own, o.n_own, "192.0.2.5", 587));
        assert_false(has(o.own, o.n_own, "192.0.2.5", 2525));
        assert_true(has(o.own, o.n_own, "192.0.2.77", 0));
        assert_true(has(o.own, o.n_own, "2001:db8::77", 0));
        assert_false(has(o.own, o.n_own, "::1", 2525)); /* that wildcard is of IPv4 only */
        assert_true(has(o.here, o.n_here, "127.0.0.1", 0));
        assert_false(has(o.here, o.n_here, "192.0.2.5", 0));
    }
    out_own_addresses_done(&o);
    conf_unref(o.conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(own_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
