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

static const char *machine_has; /* NULL: it cannot be read */
static unsigned reads;

static int interfaces(uv_interface_address_t **ret, int *ret_n)
{
    struct dns_ip ip;
    reads++;
    if (!machine_has)
        return UV_ENOMEM;
    assert_true(dns_ip_parse(slice_str(machine_has), &ip));
    const struct sockaddr_storage a = dns_ip_sockaddr(&ip, 0);
    *ret = must_alloc(sizeof **ret);
    (*ret)->name = slice_dup(SLICE_LIT("eth0"));
    memcpy(&(*ret)->address, &a, sizeof(*ret)->address);
    *ret_n = 1;
    return 0;
}

/* 41: an address that comes while the relay runs (DHCP, failover) is ours within a minute, one that
 * has gone is not; and what was known counts while nothing can be read. */
static void a_machine_that_moves(void **state)
{
    (void)state;
    struct world w = {.name_server_port = 53};
    struct outbound o = {.interfaces = interfaces};
    struct mono now = {1000000};
    o.conf =
        conf_of(&w, "} listener \"w\" { address = { \"0.0.0.0:2525\" } tls = none auth = none "
                    "trust = { \"127.0.0.1\" } } destination \"z\" { domains = { \"z.test\" }");
    machine_has = "192.0.2.1";
    out_own_addresses_fresh(&o, now);
    assert_true(has(o.own, o.n_own, "192.0.2.1", 2525));
    machine_has = "192.0.2.2";
    now.ms += OUT_OWN_MS - 1;
    out_own_addresses_fresh(&o, now);
    assert_int_equal(reads, 1);
    now.ms++;
    for (unsigned i = 0; i < 2; i++) {
        out_own_addresses_fresh(&o, now);
        assert_int_equal(reads, 2 + i);
        assert_true(has(o.own, o.n_own, "192.0.2.2", 2525));
        assert_true(has(o.here, o.n_here, "192.0.2.2", 0));
        assert_false(has(o.own, o.n_own, "192.0.2.1", 2525));
        assert_true(has(o.own, o.n_own, "127.0.0.1", 1)); /* named by a listener */
        machine_has = NULL;
        now.ms += OUT_OWN_MS;
    }
    out_own_addresses_done(&o);
    conf_unref(o.conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(own_addresses),
                                       cmocka_unit_test(a_machine_that_moves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
