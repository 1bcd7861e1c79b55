/* What the configuration says of a destination: a wrong reading sends mail too fast, from the wrong
 * place, or to the wrong one. */
#define FOLDER "/tmp/postwain-unit-conf-destinations"
#include "tests/unit/conf/world.h"

static void every_key_is_read(void **state)
{
    (void)state;
    struct conf *c = load(
        HOST "destination \"g\" { mx = { \"*.google.com\" } connections = 9 recipients = 7\n"
             " window = 1 rate = 50/s retry = { 2s, 3m } lifetime = 1h source = { 192.0.2.10,\n"
             " \"[2001:db8::1] out6.example.com\", \"192.0.2.11  b.example\" } }\n");
    assert_string_equal(buf_str(&told), "");
    assert_non_null(c);
    const struct conf_destination *d = &c->destinations[0];
    assert_int_equal(d->recipients, 7);
    assert_int_equal(d->window, 1);
    assert_int_equal(d->rate.n, 50);
    assert_int_equal(d->rate.per_ms, 1000);
    assert_int_equal(d->retry.n, 2);
    assert_int_equal(d->retry.pause_s[1], 180);
    assert_int_equal(d->lifetime_s, 3600);
    assert_int_equal(d->source.n, 3);
    assert_string_equal(d->source.items[0], "192.0.2.10");
    assert_string_equal(d->source.items[1], "2001:db8::1 out6.example.com");
    assert_string_equal(d->source.items[2], "192.0.2.11 b.example");
    conf_unref(c);
}

/* Without a word each is delivery's, or not there. */
static void every_key_has_its_default(void **state)
{
    (void)state;
    struct conf *c = load(HOST);
    assert_non_null(c);
    const struct conf_destination *d = &c->destinations[0];
    assert_int_equal(c->n_destinations, 1);
    assert_int_equal(d->recipients, 100);
    assert_int_equal(d->window, 0);
    assert_int_equal(d->rate.n, 0);
    assert_int_equal(d->retry.n, 0);
    assert_int_equal(d->lifetime_s, 0);
    assert_int_equal(d->source.n, 0);
    conf_unref(c);
}

static void staging(void **state)
{
    (void)state;
    struct conf *c = load(HOST "destination \"a\" { domains = { x } capture = box }\n"
                               "destination \"b\" { mx = { y } redirect = \"qa@example.com\" }\n");
    assert_string_equal(buf_str(&told), "");
    assert_non_null(c);
    assert_string_equal(c->destinations[0].capture, FOLDER "/box");
    assert_string_equal(c->destinations[1].redirect, "qa@example.com");
    assert_string_equal(c->destinations[2].capture, "");
    assert_string_equal(c->destinations[2].redirect, "");
    conf_unref(c);
}

static const struct {
    const char *text;
    unsigned line;
    const char *words;
} bad[] = {
    {HOST "destination \"d\" { redirect = qa }", 2, "not a mail address"},
    {HOST "destination \"d\" { domains = { x }\n capture = c\n redirect = \"a@b.c\" }", 4,
     "both capture and redirect"},
    {HOST "destination \"d\" { domains = { x }\n capture = c\n relay = { \"y:25\" } }", 4,
     "both capture and relay"},
    {HOST "destination \"d\" { recipients = 0 }", 2, "not a number from 1 to 100"},
    {HOST "destination \"d\" { recipients = 101 }", 2, "not a number from 1 to 100"},
    {HOST "destination \"d\" { rate = 5 }", 2, "not a rate"},
    {HOST "destination \"d\" { rate = \"0/s\" }", 2, "not a rate"},
    {HOST "destination \"d\" { retry = { 0s } }", 2, "not between"},
    {HOST "destination \"d\" { source = { out.example.com } }", 2, "not an address"},
    {HOST "destination \"d\" { source = { \"192.0.2.1:25\" } }", 2, "not an address"},
    {HOST "destination \"d\" { source = { \"192.0.2.1 a b\" } }", 2, "not a host name"},
    {HOST "destination \"d\" { domains = { x }\n connections = 2\n window = 3 }", 4,
     "a window larger than its connections"},
    {HOST "destination \"d\" { domains = { x }\n lifetime = 6d }", 3,
     "longer than that of delivery"},
    {HOST "destination \"d\" { domains = { x }\n lifetime = 30s }", 3,
     "shorter than the first pause"},
    {HOST "destination \"d\" { domains = { x }\n lifetime = 1m\n retry = { 2m } }", 4,
     "shorter than the first pause"},
};

static void each_fault_has_its_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char place[100];
        snprintf(place, sizeof place, "%s:%u: ", FILE_NAME, bad[i].line);
        assert_null(load(bad[i].text));
        const char *at = strstr(buf_str(&told), place);
        if (!at || !strstr(at, bad[i].words))
            fail_msg("%s\n-> %s(wanted %s%s)", bad[i].text, buf_str(&told), place, bad[i].words);
    }
}

int main(void)
{
    mkdir(FOLDER, 0700);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(every_key_has_its_default),
        cmocka_unit_test(staging),
        cmocka_unit_test(each_fault_has_its_sentence),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&told);
    return failed;
}
