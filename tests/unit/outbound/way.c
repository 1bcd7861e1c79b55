/* Which destination of the configuration a domain takes. What breaks for a user: mail goes another
 * way than the one that was written for it, past its relay and its TLS policy. */
#include "tests/unit/outbound/world.h"

/* An international domain takes the way of its name in ASCII, in whichever form it is written. */
static void international_domains(void **state)
{
    (void)state;
    static const struct {
        const char *domain, *destination;
    } rows[] = {
        {"xn--bcher-kva.test", "books"},
        {"b\xc3\xbc"
         "cher.test",
         "books"},
        {"B\xc3\x9c"
         "CHER.test",
         "books"},
        {"bu\xcc\x88"
         "cher.test",
         "books"}, /* u and its dots in two characters */
        {"b\xc3\xbc"
         "cher.test>rest",
         "rest"}, /* a route goes first */
        {"mx.b\xc3\xbc"
         "cher.test",
         "rest"},
        {"bucher.test", "rest"},
        {"[192.0.2.1]", "rest"},
    };
    struct world *w = world_new(1, "");
    struct conf *conf =
        conf_of(w, "} destination \"books\" { domains = { \"xn--bcher-kva.*\" } relay = "
                   "{ \"127.0.0.1:9\" } } destination \"rest\" { domains = { "
                   "\"*\" } relay = { \"127.0.0.2:9\" }");
    outbound_reconfigure(w->out, conf);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        order_resolve_now(w, rows[i].domain);
        struct spooler_plan *p = told(w, SPOOLER_PLAN);
        if (!p->destination.p || strcmp(buf_str(&p->destination), rows[i].destination) != 0)
            fail_msg("%s takes the way of %s", rows[i].domain, buf_str(&p->destination));
        assert_string_equal(buf_str(&p->domain), rows[i].domain); /* as it was asked for */
        spooler_request_free(&p->msg);
    }
    conf_unref(conf);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(international_domains)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
