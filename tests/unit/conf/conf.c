/* The configuration as an administrator writes it: what a good one means, and the sentence for each
 * way to get it wrong. */
#define FOLDER "/tmp/postwain-unit-conf"
#include "tests/unit/conf/world.h"

#define TLS "tls { certificate = /c key = /k }\n"

/* A relay with nothing but a name takes the mail of its own machine, and of nobody else. */
static void test_hostname_only(void **state)
{
    (void)state;
    struct conf *c = load("hostname = \"relay.example.com\"");
    assert_non_null(c);
    assert_string_equal(c->hostname, "relay.example.com");
    assert_string_equal(c->postmaster, "postmaster@relay.example.com");
    assert_int_equal(c->n_listeners, 1);
    assert_string_equal(c->listeners[0].address.items[0], "127.0.0.1:587");
    assert_string_equal(c->listeners[0].trust.items[0], "127.0.0.0/8");
    assert_int_equal(c->listeners[0].tls, CONF_TLS_NONE);
    assert_int_equal(c->listeners[0].max_recipients, 1000);
    assert_int_equal(c->listeners[0].greeting_delay_ms, 0);
    assert_int_equal(c->listeners[0].max_hold_s, 30 * 86400);
    assert_int_equal(c->n_destinations, 1);
    assert_string_equal(c->destinations[0].name, "default");
    assert_int_equal(c->destinations[0].port, 25);
    assert_int_equal(c->destinations[0].tls, CONF_OUT_MAY);
    assert_string_equal(c->spool_path, "/var/spool/postwain");
    assert_int_equal(c->spool_min_free, 512u << 20);
    assert_int_equal(c->spool_max_messages, 2000000);
    assert_int_equal(c->spool_max_memory, UINT64_C(2) << 30);
    assert_int_equal(c->listeners[0].connection_rate_per_client.n, 6000);
    assert_int_equal(c->listeners[0].connection_rate_per_client.per_ms, 60000);
    assert_int_equal(c->clients_auth_failures, 20);
    assert_int_equal(c->clients_ban_ms, 15 * 60000);
    assert_int_equal(c->clients_allow.n, 2);
    assert_string_equal(c->clients_allow.items[1], "::1");
    assert_int_equal(c->lifetime_s, 5 * 86400);
    assert_int_equal(c->delay_warning_s, 4 * 3600);
    assert_int_equal(c->retry.n, 7);
    assert_int_equal(c->retry.pause_s[0], 60);
    assert_int_equal(c->retry.pause_s[6], 4 * 3600);
    assert_int_equal(c->dns_timeout_ms, 5000);
    assert_int_equal(c->log_level, LV_INFO);
    assert_false(c->allow_private_addresses);
    assert_int_equal(c->debug_sync_delay_ms, 0);
    assert_int_equal(c->debug_segment_bytes, 0);
    assert_string_equal(c->control_socket, "/run/postwain/control.sock");
    conf_unref(c);
}

static void test_certificate_brings_both_ports(void **state)
{
    (void)state;
    struct conf *c = load(HOST TLS USERS);
    assert_non_null(c);
    assert_int_equal(c->n_listeners, 2);
    assert_string_equal(c->listeners[0].name, "submission");
    assert_string_equal(c->listeners[0].address.items[1], "[::]:587");
    assert_int_equal(c->listeners[0].tls, CONF_TLS_STARTTLS);
    assert_int_equal(c->listeners[0].auth, CONF_AUTH_REQUIRED);
    assert_string_equal(c->listeners[1].address.items[0], "0.0.0.0:465");
    assert_int_equal(c->listeners[1].tls, CONF_TLS_IMPLICIT);
    conf_unref(c);
}

/* Addresses in brackets, as Postfix writes them: whoever reads these after the configuration knows
 * IPv6 in brackets before a port, and no others; a daemon would end at what `check` let pass. */
static void test_brackets(void **state)
{
    (void)state;
    struct conf *c =
        load(HOST "listener \"a\" { address = { \"[127.0.0.1]:2525\", \"[::1]:2525\" } "
                  "tls = none auth = none\n trust = { \"[10.0.0.0]/8\", \"[::1]\" }\n "
                  "proxy-protocol = { \"[fc00::]/7\" } }\n"
                  "clients { allow = { \"[::1]/128\" } }\n"
                  "dns { servers = { \"[127.0.0.1]\", \"[::1]\" } }\n"
                  "http { address = \"[127.0.0.1]:9587\" }\n");
    assert_string_equal(buf_str(&told), "");
    assert_non_null(c);
    assert_string_equal(c->listeners[0].address.items[0], "127.0.0.1:2525");
    assert_string_equal(c->listeners[0].address.items[1], "[::1]:2525");
    assert_string_equal(c->listeners[0].trust.items[0], "10.0.0.0/8");
    assert_string_equal(c->listeners[0].trust.items[1], "::1");
    assert_string_equal(c->listeners[0].proxy_protocol.items[0], "fc00::/7");
    assert_string_equal(c->clients_allow.items[0], "::1/128");
    assert_string_equal(c->dns_servers.items[0], "127.0.0.1:53");
    assert_string_equal(c->dns_servers.items[1], "[::1]:53");
    assert_string_equal(c->http_address, "127.0.0.1:9587");
    conf_unref(c);
}

static void test_everything(void **state)
{
    (void)state;
    setenv("POSTWAIN_UNIT", "env.example.com", 1);
    struct conf *c = load(
        "# a comment\n#\n// one more\n/* and\n one */\n"
        "hostname = \"${POSTWAIN_UNIT}\" # behind\n"
        "postmaster = pm@example.com  user = mail  threads = 3  debug-sync-delay = 2s\n"
        "debug-segment-bytes = 256K\n"
        "spool { path = \"queue dir\" min-free = 1G }\n" TLS USERS
        "listener \"a\" { address = { \"127.0.0.1:2525\", # here\n \"[::1]:2525\" } tls = none "
        "auth = none\n"
        " trust = { \"127.0.0.0/8\", '::1/128', \"fc00::/7\" } max-message-size = 10M\n"
        " max-recipients = 200 max-connections = 7 max-connections-per-client = 3\n"
        " idle-timeout = 90s message-timeout = 2h greeting-delay = 1500ms max-hold = 0s banner = "
        "\"hello there\" }\n"
        "dns { servers = { 127.0.0.1, \"[::1]:5353\", \"::2\" } timeout = 250ms\n"
        " override = { \"a.test MX 10 mx.a.test\" } }\nhttp { address = \"[::1]:9587\" }\n"
        "delivery { allow-private-addresses = yes own-addresses = { 192.0.2.1, \"[::5]\" } "
        "lifetime = 1d delay-warning = 0s retry = { 1s, "
        "2m } }\n"
        "destination \"g\" { mx = { \"*.Google.com\" } connections = 2 messages-per-connection = "
        "9\n"
        " tls = encrypt port = 2526 helo = out.example.com }\n"
        "destination \"s\" { domains = { \"b.test\" } domains += { \"*.C.test\" }\n"
        " relay = { \"smtp.example\", \"[::1]:26\", \"127.0.0.1:27\","
        " \"[127.0.0.2]:28\" } tls = verify }\n"
        "log { deliveries = /l rotate-size = 0 keep = 0s level = debug }\n"
        "control { socket = ctl }\n");
    assert_string_equal(buf_str(&told), "");
    assert_non_null(c);
    assert_string_equal(c->hostname, "env.example.com");
    assert_string_equal(c->spool_path, FOLDER "/queue dir");
    assert_string_equal(c->control_socket, FOLDER "/ctl");
    assert_int_equal(c->threads, 3);
    assert_int_equal(c->debug_sync_delay_ms, 2000);
    assert_int_equal(c->debug_segment_bytes, 256 << 10);
    const struct conf_listener *l = &c->listeners[0];
    assert_int_equal(c->n_listeners, 1);
    assert_string_equal(l->name, "a");
    assert_int_equal(l->address.n, 2);
    assert_int_equal(l->trust.n, 3);
    assert_int_equal(l->max_message_size, 10u << 20);
    assert_int_equal(l->max_connections_per_client, 3);
    assert_int_equal(l->idle_timeout_ms, 90000);
    assert_int_equal(l->message_timeout_ms, 7200000);
    assert_int_equal(l->greeting_delay_ms, 1500);
    assert_int_equal(l->max_hold_s, 0);
    assert_string_equal(l->banner, "hello there");
    assert_string_equal(c->dns_servers.items[0], "127.0.0.1:53");
    assert_string_equal(c->dns_servers.items[1], "[::1]:5353");
    assert_string_equal(c->dns_servers.items[2], "[::2]:53");
    assert_string_equal(c->dns_override.items[0], "a.test MX 10 mx.a.test");
    assert_string_equal(c->http_address, "[::1]:9587");
    assert_true(c->allow_private_addresses);
    assert_int_equal(c->own_addresses.n, 2);
    assert_string_equal(c->own_addresses.items[1], "::5");
    assert_int_equal(c->retry.n, 2);
    assert_int_equal(c->retry.pause_s[1], 120);
    assert_int_equal(c->n_destinations, 3);
    assert_string_equal(c->destinations[0].mx.items[0], "*.google.com");
    assert_int_equal(c->destinations[0].tls, CONF_OUT_ENCRYPT);
    assert_int_equal(c->destinations[0].port, 2526);
    const struct conf_destination *d = &c->destinations[1];
    assert_int_equal(d->tls, CONF_OUT_VERIFY);
    assert_int_equal(d->domains.n, 2);
    assert_string_equal(d->relay.items[0], "smtp.example:25");
    assert_string_equal(d->relay.items[1], "[::1]:26");
    assert_string_equal(d->relay.items[3], "[127.0.0.2]:28");
    assert_int_equal(c->log_level, LV_DEBUG);
    assert_int_equal(c->log_rotate_size, 0);
    assert_ptr_equal(conf_by_domain(c, SLICE_LIT("x.c.test")), d);
    assert_ptr_equal(conf_by_domain(c, SLICE_LIT("b.test")), d);
    assert_null(conf_by_domain(c, SLICE_LIT("c.test")));
    assert_ptr_equal(conf_by_name(c, SLICE_LIT("s")), d);
    assert_null(conf_by_name(c, SLICE_LIT("S")));
    assert_null(conf_by_name(c, SLICE_LIT("")));
    assert_int_equal(c->delay_warning_s, 0);
    conf_unref(conf_ref(c));
    conf_unref(c);
}

/* One section without a title, and others with one; with what stands between them in every way that
 * an administrator writes it. */
static void test_certificates(void **state)
{
    (void)state;
    struct conf *c =
        load(HOST USERS "tls \"a.example\"{certificate=a.pem key=a.key}tls{certificate={ "
                        "rsa.pem, \"ec.pem\" }\n key = { rsa.key, ec.key } }\n"
                        "# tls { certificate = /no }\n"
                        "tls\n\t'*.b.example'\n{ certificate = b.pem key = b.key }\n"
                        "listener \"s\" { banner = \"tls { here }\" tls = \"implicit\""
                        " address = 1.2.3.4:465 client-ca = ca.pem"
                        " client-certificates = require }\n");
    assert_string_equal(buf_str(&told), "");
    assert_non_null(c);
    assert_int_equal(c->n_tls, 3);
    assert_int_equal(c->tls_default, 1);
    assert_string_equal(c->tls[0].name, "a.example");
    assert_string_equal(c->tls[0].key.items[0], FOLDER "/a.key");
    assert_string_equal(c->tls[1].name, "");
    assert_int_equal(c->tls[1].certificate.n, 2);
    assert_string_equal(c->tls[1].certificate.items[1], FOLDER "/ec.pem");
    assert_string_equal(c->tls[2].name, "*.b.example");
    assert_string_equal(c->listeners[0].banner, "tls { here }");
    assert_string_equal(c->listeners[0].client_ca, FOLDER "/ca.pem");
    assert_int_equal(c->listeners[0].client_certificates, CONF_CERT_REQUIRE);
    assert_true(conf_has_certificate(c));
    buf_reset(&told);
    conf_tell_tls(c, 2, "key", "no good", say, NULL);
    conf_tell_tls(c, 1, NULL, "no better", say, NULL);
    assert_string_equal(buf_str(&told), FILE_NAME ":8: no good\n" FILE_NAME ":3: no better\n");
    conf_unref(c);
    /* only titled ones: the first stands in for the rest; it alone brings both ports */
    c = load(HOST USERS
             "tls \"a\" { certificate = /a key = /a }\ntls \"b\" { certificate = /b key = /b }");
    assert_non_null(c);
    assert_int_equal(c->tls_default, 0);
    assert_int_equal(c->n_listeners, 2);
    assert_int_equal(c->listeners[0].client_certificates, CONF_CERT_NONE);
    conf_unref(c);
    c = load(HOST "tls { }");
    assert_non_null(c);
    assert_false(conf_has_certificate(c));
    conf_unref(c);
}

/* Promise 20: what would be an open relay by mistake is refused, what is meant is let through, and
 * what is none is not suspected. */
static void test_open_relays(void **state)
{
    (void)state;
    static const struct {
        const char *keys; /* of a listener */
        bool refused, open;
    } cases[] = {
        {"trust = { \"0.0.0.0/0\" }", true, true},
        {"trust = { \"::/0\" }", true, true},
        {"trust = { \"0.0.0.0/7\" }", true, true},
        {"trust = { \"127.0.0.1\", \"2000::/15\" }", true, true},
        {"auth = none trust = { \"0.0.0.0/1\" }", true, true},
        {"auth = optional trust = { \"128.0.0.0/1\" }", true, true},
        {"trust = { 10.0.0.0/8 } proxy-protocol = { \"0.0.0.0/0\" }", true, true},
        {"proxy-protocol = { \"0.0.0.0/0\" }", true, false}, /* logins are still asked for */
        {"trust = { 10.0.0.0/8, \"fc00::/7\", \"fe80::/10\", \"2001:db8::/32\" }", false, false},
        {"trust = { 127.0.0.0/8 } proxy-protocol = { 10.0.0.0/8 }", false, false},
        {"auth = required", false, false},
        {"auth = optional", false, false},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const bool wanted = i % 2;
        char text[600];
        snprintf(text, sizeof text,
                 "%s" HOST TLS USERS "listener \"a\" { address = \"1.2.3.4:25\" %s }",
                 wanted ? "i-want-an-open-relay = true\n" : "", cases[i / 2].keys);
        struct conf *c = load(text);
        if ((c == NULL) != (cases[i / 2].refused && !wanted))
            fail_msg("%s\n%s", text, buf_str(&told));
        if (c)
            assert_int_equal(conf_is_open_relay(&c->listeners[0]), cases[i / 2].open);
        conf_unref(c);
    }
}

/* Each text is refused with this line number and these words. */
static const struct {
    const char *text;
    unsigned line;
    const char *words;
} bad[] = {
    {"", 0, "hostname is not set"},
    {"hostname = a\nhostnam = b", 2, "no such option 'hostnam'"},
    {HOST "dkimm \"a\" { }", 2, "no such option 'dkimm'"},
    {HOST "dkim { selector = a key = b }", 2, ""},
    {HOST "dkim \"a.test\" { }", 2, "dkim \"a.test\" has no key"},
    {HOST "dkim \"a b\" {\n selector = a key = b }", 3, "is not a domain such as"},
    {HOST "dkim \"a.test\" {\n selector = A key = b }", 3, "\"A\" is not a selector"},
    {HOST "dkim \"a.test\" {\n selector = \"\" key = b }", 3, "selector: \"\" is not a selector"},
    {HOST "dkim \"a.test\" {\n selector = { a, b }\n key = c }", 4, "a key for each selector"},
    {HOST "dkim \"a.test\" {\n selector = { a, a } key = { b, c } }", 3, "stands there twice"},
    {HOST "dkim \"a.test\" {\n selector = a\n key = \"\" }", 4, "an empty name of a file"},
    {HOST "dkim \"a.test\" {\n selector = { a, b, c, d } key = { a, b, c, d } }", 3,
     "more than 3 keys"},
    {HOST "dkim \"a.test\" { selector = a key = b }\ndkim \"A.TEST\" { selector = b\nkey = c }", 4,
     "is the domain of dkim \"a.test\""},
    {HOST "http { address = 1 }", 2, "not an address with a port"},
    {HOST "http { address = \"localhost:9587\" }", 2, "not an address with a port"},
    {HOST "clients {\n ban = 0s }", 3, "ban: \"0s\" is not between"},
    {HOST "clients {\n allow = { 10.0.0.0/33 } }", 3, "allow: \"10.0.0.0/33\""},
    {HOST "clients {\n allow = { } }", 3, "allow is empty"},
    {HOST "listener \"a\" {\n connection-rate-per-client = 100 }", 3,
     "connection-rate-per-client: \"100\" is not a rate such as"},
    {HOST "dns {\n\n trust-ad = false }", 4, "no such option 'trust-ad' in section dns"},
    {HOST "delivery { delay-warnings = 4h }", 2, "delay-warnings"},
    {HOST "delivery { delay-warning = 4x }", 2, "delay-warning"},
    {"hostname = \"a b\"", 1, "not a host name"},
    {"hostname = \"${POSTWAIN_UNSET}\"", 1, "hostname is not set"},
    {"# one\n/* two\n three */ hostname = relay..example", 3, "not a host name"},
    {HOST "hostname = b", 2, "set twice, first in " FILE_NAME ":1"},
    {HOST "spool { min-free = 1X }", 2, "\"1X\" is not a size"},
    {HOST "spool { min-free = }", 2, "unexpected token"},
    {HOST "spool { path = \"\" }", 2, "path is empty"},
    {HOST "spool { path = /a\n path = /b }", 3, "set twice"},
    {HOST "spool { path = /a", 0, "the file ends inside"},
    {HOST "spool { path = \"/a }\n", 0, "the file ends inside"},
    {HOST "# fine\n /* spool { }", 0, "is not closed"},
    {HOST "delivery { retry = { 1m, \n 5, 10x } }", 3, "\"5\" is not a duration"},
    {HOST "delivery { retry = { 1m, \n 5m, 10x } }", 3, "\"10x\" is not a duration"},
    {HOST "delivery { retry = { } }", 2, "retry is empty"},
    {HOST "delivery { retry = {1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m,1m} }", 2,
     "too many"},
    {HOST "delivery { lifetime = 1s\n retry = {1m} }", 2, "lifetime is shorter"},
    {HOST "delivery { lifetime = 90d }", 2, "not between"},
    {HOST "delivery { lifetime = 1500ms }", 2, "whole number"},
    {HOST "delivery { allow-private-addresses = maybe }", 2, "neither true nor false"},
    {HOST "delivery { own-addresses = { \"192.0.2.1:25\" } }", 2, "not an address"},
    {HOST "threads = 9999", 2, "not a number from 0 to 256"},
    {HOST "threads = -1", 2, "not a number from 0 to 256"},
    {HOST "postmaster = nobody", 2, "not a mail address"},
    {HOST "delivery { double-bounces = nobody }", 2, "neither postmaster nor log"},
    {HOST "delivery { report-template = /nowhere }", 2, "report-template: /nowhere: No such"},
    {HOST "log { level = loud }", 2, "not one of error, warn, info or debug"},
    {HOST
     "control { socket = \"/0123456789012345678901234567890123456789012345678901234567890123456"
     "789012345678901234567890123456789012345678901234567890\" }",
     2, "at most 107"},
    /* TLS and access */
    {HOST TLS, 0, "there is no users file"},
    {HOST "tls { certificate = /c }", 2, "both certificate and key"},
    {HOST "tls { key = /c }", 2, "both certificate and key"},
    {HOST "tls { certificate = { /a, /b }\n key = /c }", 3, "both certificate and key"},
    {HOST TLS "tls \"b\" {\n key = /c }", 4, "both certificate and key"},
    {HOST TLS "tls \"b\" {\n }", 4, "tls \"b\" has no certificate"},
    {HOST "tls { certificate = \"\" key = \"\" }", 2, "an empty name"},
    {HOST "tls {\n certificate = { /1, /2, /3, /4 } key = { /1, /2, /3, /4 } }", 3, "at most 3"},
    {HOST TLS TLS, 3, "needs a title"},
    {HOST TLS "tls \"a\" { certificate = /c key = /k }\ntls \"a\" { certificate = /c key = /k }", 4,
     "duplicate title 'a'"},
    {HOST TLS USERS "listener \"a\" { address = \"1.2.3.4:25\"\n client-ca = /ca }", 5,
     "for nothing"},
    {HOST TLS USERS "listener \"a\" { address = \"1.2.3.4:25\"\n client-certificates = require }",
     5, "add client-ca"},
    {HOST
     "listener \"a\" { address = \"1.2.3.4:25\" tls = none auth = none trust = { 10.0.0.0/8 }\n"
     " client-ca = /ca client-certificates = request }",
     3, "has no TLS"},
    {HOST TLS USERS "listener \"a\" { address = \"1.2.3.4:25\"\n client-certificates = maybe }", 5,
     "not one of none, request or require"},
    {HOST USERS "listener \"a\" {\n address = 127.0.0.1:25 }", 4, "there is no certificate"},
    {HOST USERS "listener \"a\" {\n address = 127.0.0.1:25\n tls = implicit }", 5,
     "there is no certificate"},
    {HOST TLS "listener \"a\" { address = 127.0.0.1:25\n auth = required }", 4, "no users file"},
    {HOST TLS "listener \"a\" { address = 127.0.0.1:25\n auth = optional }", 4, "no users file"},
    {HOST "listener \"a\" { address = 127.0.0.1:25 tls = none\n auth = none }", 3,
     "nobody may send"},
    {HOST USERS "listener \"a\" { address = 127.0.0.1:25\n tls = none }", 4,
     "only taken inside TLS"},
    {HOST "listener \"a\" { tls = none auth = none trust = { 10.0.0.0/8 } }", 2, "has no address"},
    {HOST "listener { address = 1 }", 2, "missing title"},
    {HOST "listener \"\" { address = \"1.1.1.1:1\" tls = none auth = none trust = { 10.0.0.0/8 } }",
     2, "needs a title"},
    {HOST "listener \"a\" { address = 127.0.0.1 }", 2, "not an address with a port"},
    {HOST "listener \"a\" { address = \"localhost:25\" }", 2, "not an address with a port"},
    {HOST "listener \"a\" { address = \"[::1]:0\" }", 2, "not an address with a port"},
    {HOST "listener \"a\" { address = \"1.2.3.4:65536\" }", 2, "not an address with a port"},
    {HOST
     "listener \"a\" { address = \"1.2.3.4:25\" tls = none auth = none trust = { 10.0.0.0/8 } }\n"
     "listener \"b\" { address = \"1.2.3.4:25\" tls = none auth = none trust = { 10.0.0.0/8 } }",
     3, "taken by listener \"a\""},
    {HOST
     "listener \"b\" { address = { \"[::1]:25\", \"[0:0::1]:25\" } tls = none auth = none trust = "
     "{ 10.0.0.0/8 } }",
     2, "taken by listener \"b\""},
    {HOST
     "listener \"a\" { address = \"1.2.3.4:25\" tls = none auth = none trust = { 10.0.0.0/8 } }\n"
     "listener \"a\" { }",
     3, "duplicate title 'a'"},
    {HOST "listener \"a\" { max-message-size = 1 }", 2, "not between"},
    {HOST "listener \"a\" { max-recipients = 10 }", 2, "not a number from 100"},
    {HOST "listener \"a\" { tls = maybe }", 2, "not one of none, starttls or implicit"},
/* checklist: promise 20, never an open relay by mistake */
#define OPEN(network)                                                                              \
    {HOST "listener \"a\" { address = \"1.2.3.4:25\" tls = none auth = none\n trust = { " network  \
          " } }",                                                                                  \
     3, "open relay"},                                                                             \
    {                                                                                              \
        HOST TLS USERS                                                                             \
            "listener \"a\" { address = \"1.2.3.4:25\"\n trust = { \"127.0.0.1\", " network        \
            " } }",                                                                                \
            5, "open relay"                                                                        \
    }
    OPEN("\"0.0.0.0/0\""),
    OPEN("\"::/0\""),
    OPEN("\"0.0.0.0/1\", \"128.0.0.0/1\""),
    OPEN("\"2000::/3\""),
#define BALANCED(trust, network)                                                                   \
    {                                                                                              \
        HOST TLS USERS "listener \"a\" { address = \"1.2.3.4:25\" " trust "\n proxy-protocol = { " \
                       "\"127.0.0.1\", " network " } }",                                           \
            5, "anybody could claim"                                                               \
    }
    BALANCED("", "\"0.0.0.0/0\""),
    BALANCED("", "\"::/0\""),
    BALANCED("trust = { 10.0.0.0/8 }", "\"0.0.0.0/0\""),
    BALANCED("trust = { 10.0.0.0/8 }", "\"2000::/3\""),
    {HOST "listener \"a\" { trust = { \"::ffff:0:0/96\" } }", 2, "IPv4 network in IPv6 dress"},
    {HOST "listener \"a\" { trust = { \"10.0.0.1/8\" } }", 2, "bits behind its prefix"},
    {HOST "listener \"a\" { trust = { \"10.0.0.0/33\" } }", 2, "prefix length"},
    {HOST "listener \"a\" { trust = { \"10.0.0/8\" } }", 2, "is not a network"},
    {HOST "listener \"a\" { trust = { \"\" } }", 2, "is not a network"},
    /* destinations */
    {HOST "destination \"d\" { }", 2, "matches nothing"},
    {HOST "destination \"d\" { port = 25 }", 2, "matches nothing"},
    {HOST "destination \"default\" { domains = { x } }", 2, "belongs to the destination"},
    {HOST "destination \"d\" { mx = { x }\n relay = { \"y:25\" } }", 3, "both mx and relay"},
    {HOST "destination \"d\" { domains = { x }\n relay = { \"y:25\" }\n port = 26 }", 4,
     "both port and"},
    {HOST "destination \"d\" { domains = { \"a@b\" } }", 2, "is not a pattern"},
    {HOST "destination \"d\" { domains = { \"\" } }", 2, "is not a pattern"},
    {HOST "destination \"d\" { domains = { x } }\ndestination \"e\" { domains = { X } }", 3,
     "never used"},
    {HOST "destination \"d\" { domains = { x } }\ndestination \"d\" { domains = { y } }", 3,
     "duplicate title"},
    {HOST "destination \"d\" { relay = { \"a:b\" } }", 2, "not a host with a port"},
    {HOST "destination \"d\" { relay = { \"a b:25\" } }", 2, "not a host with a port"},
    {HOST "destination \"d\" { port = 0 }", 2, "not a number from 1"},
    {HOST "destination \"d\" { tls = dane }", 2, "not one of none, may, encrypt or verify"},
    {HOST "dns { servers = { ns.example } }", 2, "not an address such as"},
    {HOST "include(\"absent.conf\")", 2, "absent.conf: No such file"},
    {HOST "include(\"/tmp\")", 2, "is a folder"},
    {HOST "include()", 2, "include takes one file name"},
    {HOST "include(\"postwain.conf\")", 0, "twice"},
    {HOST "}", 2, "unexpected closing brace"},
    {HOST "\xff", 0, "not UTF-8"},
};

static void test_bad(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct conf *c = load(bad[i].text);
        char place[200];
        if (bad[i].line)
            snprintf(place, sizeof place, "%s:%u: ", FILE_NAME, bad[i].line);
        else
            snprintf(place, sizeof place, "%s:", FILE_NAME);
        const char *at = strstr(buf_str(&told), place);
        if (c || !at || !strstr(at, bad[i].words))
            failed++, print_error("%s\n-> %s(wanted %s%s)\n", bad[i].text, buf_str(&told), place,
                                  bad[i].words);
    }
    assert_int_equal(failed, 0);
}

/* One wrong value does not hide the next, and the last line of a long file is still told right. */
static void test_all_problems_at_once(void **state)
{
    (void)state;
    assert_null(load("hostname = a..b\n# x\n/* y\n*/\nspool { min-free = 1Q }\n"
                     "delivery { retry = { 1m,\n # in a list\n 2x,\n 3x } }\nlog {\n level = x }\n"
                     "unknown = 1\n"));
    static const char *const lines[] = {":1: ", ":5: ", ":8: ", ":9: ", ":11: ", ":12: "};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char place[200];
        snprintf(place, sizeof place, "%s%s", FILE_NAME, lines[i]);
        if (!strstr(buf_str(&told), place))
            fail_msg("no %s in %s", place, buf_str(&told));
    }
}

static void test_include(void **state)
{
    (void)state;
    mkdir(FOLDER "/conf.d", 0700);
    write_file(FOLDER "/conf.d/a.conf", "#\nspool { path = here }\ninclude(\"b.conf\")\n");
    write_file(FOLDER "/conf.d/b.conf", "threads = 5");
    struct conf *c = load("#\ninclude(\"conf.d/a.conf\")\n#\n//\n/**/\n" HOST);
    assert_non_null(c);
    assert_string_equal(c->spool_path, FOLDER "/conf.d/here");
    assert_int_equal(c->threads, 5);
    conf_unref(c);
    write_file(FOLDER "/conf.d/b.conf", "#\n\nthreads = x");
    /* A daemon reloads a broken include again and again, and then a whole one. */
    for (unsigned i = 0; i < 20; i++) {
        assert_null(load("include(\"conf.d/a.conf\")\n" HOST));
        assert_non_null(strstr(buf_str(&told), "/conf.d/b.conf:3: threads"));
        write_file(FOLDER "/conf.d/a.conf", "spool {");
        assert_null(load("include(\"conf.d/a.conf\")\n" HOST));
        assert_non_null(strstr(buf_str(&told), "/conf.d/a.conf:"));
        write_file(FOLDER "/conf.d/a.conf", "#\ninclude(\"b.conf\")\n");
    }
    assert_null(load("include(\"conf.d/a.conf\")\n" HOST "spool { min-free = x }"));
    assert_non_null(strstr(buf_str(&told), FILE_NAME ":3: min-free"));
    write_file(FOLDER "/conf.d/b.conf", "include(\"b.conf\")");
    assert_null(load("include(\"conf.d/b.conf\")\n" HOST));
    assert_non_null(strstr(buf_str(&told), "deep"));
    write_file(FOLDER "/conf.d/b.conf", "threads = 6");
    c = load("include(\"conf.d/a.conf\")\n" HOST);
    assert_non_null(c);
    conf_unref(c);
}

static void test_missing_file(void **state)
{
    (void)state;
    buf_reset(&told);
    assert_null(conf_load(FOLDER "/none.conf", say, NULL));
    assert_non_null(strstr(buf_str(&told), "none.conf: "));
    assert_non_null(strstr(buf_str(&told), "No such file"));
}

/* `check` finds on the machine what the text cannot show. */
static void test_check(void **state)
{
    (void)state;
    write_file(FOLDER "/cert", "x");
    write_file(FOLDER "/plain", "x");
    write_file(FOLDER "/key", "x");
    write_file(FOLDER "/users", "bob:plain\n");
    chmod(FOLDER "/key", 0644);
    struct conf *c = load(
        HOST "user = no-such-account-here\ntls {\n certificate = cert\n key = key }\n"
             "users {\n file = users }\nspool { path = plain }\nlog { deliveries = \"/tmp\" }\n"
             "control { socket = \"cert/x/y\" }");
    assert_non_null(c);
    assert_int_equal(conf_check(c, say, NULL), 6);
    static const char *const words[] = {":2: user: there is no account",
                                        ":5: key:",
                                        "/users:1: user bob: the password is not a hash",
                                        ":8: path: " FOLDER "/plain is not a folder",
                                        ":9: deliveries: /tmp is a folder",
                                        ":10: socket: " FOLDER "/cert is not a folder"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strstr(buf_str(&told), words[i]))
            fail_msg("no %s in %s", words[i], buf_str(&told));
    conf_unref(c);
    chmod(FOLDER "/key", 0600);
    write_file(FOLDER "/users", "# nobody yet\n");
    c = load(HOST "tls { certificate = cert key = key }\nusers { file = users }\n"
                  "spool { path = new/spool }\nlog { deliveries = new/log }\n"
                  "control { socket = new/ctl }");
    assert_non_null(c);
    assert_int_equal(conf_check(c, say, NULL), 0);
    conf_unref(c);
    c = load(HOST "tls { certificate = absent key = key }\nusers { file = absent }");
    assert_non_null(c);
    assert_true(conf_check(c, say, NULL) >= 2);
    assert_non_null(strstr(buf_str(&told), ":2: certificate: " FOLDER "/absent: No such file"));
    assert_non_null(strstr(buf_str(&told), ":3: file: " FOLDER "/absent: No such file"));
    conf_unref(c);
}

int main(void)
{
    mkdir(FOLDER, 0700);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostname_only), cmocka_unit_test(test_certificate_brings_both_ports),
        cmocka_unit_test(test_everything),    cmocka_unit_test(test_brackets),
        cmocka_unit_test(test_certificates),  cmocka_unit_test(test_open_relays),
        cmocka_unit_test(test_bad),           cmocka_unit_test(test_all_problems_at_once),
        cmocka_unit_test(test_include),       cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_check),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&told);
    return rc;
}
