/* 76, 77: where mail to a site comes from. Another address each time, and greylists never let us
 * through. */
#include "relay/base/must.h"
#include "relay/outbound/private.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const all[] = {"192.0.2.1", "192.0.2.2 two.example",   "192.0.2.3",
                                  "192.0.2.4", "2001:db8::1 six.example", "2001:db8::2"};

static struct conf_destination with(size_t n)
{
    static const char *items[6];
    memcpy(items, all, sizeof all);
    return (struct conf_destination){.source = {items, n}};
}

static const char *text(const struct out_source *s, char ret[46])
{
    const struct sockaddr_in *a4 = (const void *)&s->from;
    const struct sockaddr_in6 *a6 = (const void *)&s->from;
    if (s->from.ss_family == AF_INET)
        return inet_ntop(AF_INET, &a4->sin_addr, ret, 46);
    return s->from.ss_family == AF_INET6 ? inet_ntop(AF_INET6, &a6->sin6_addr, ret, 46) : "";
}

static void without_any_the_system_chooses(void **state)
{
    (void)state;
    struct conf_destination d = with(0);
    struct out_source s;
    char a[46];
    assert_true(out_source_has(&d, AF_INET) && out_source_has(&d, AF_INET6));
    out_source_find(&d, SLICE_LIT("mx.test"), AF_INET, &s);
    assert_string_equal(text(&s, a), "");
    assert_string_equal(s.helo, "");
}

static void of_the_hosts_family(void **state)
{
    (void)state;
    struct conf_destination d = with(4);
    struct out_source s;
    char a[46];
    assert_true(out_source_has(&d, AF_INET));
    assert_false(out_source_has(&d, AF_INET6)); /* 38: such hosts are not tried */
    d = with(6);
    out_source_find(&d, SLICE_LIT("mx.test"), AF_INET6, &s);
    assert_non_null(strstr(text(&s, a), "2001:db8::"));
    assert_string_equal(s.helo, strcmp(a, "2001:db8::1") == 0 ? "six.example" : "");
}

/* The same one for a site, evenly over many; one more in the list moves about its share of sites,
 * and only to itself. */
static void each_site_has_its_own(void **state)
{
    (void)state;
    enum { SITES = 4000 };
    unsigned n[4] = {0}, moved = 0;
    for (int i = 0; i < SITES; i++) {
        char name[40], a[46], b[46];
        struct out_source s, again, fewer;
        snprintf(name, sizeof name, "mx%d.example.com", i);
        struct conf_destination d = with(4), three = with(3);
        out_source_find(&d, slice_str(name), AF_INET, &s);
        out_source_find(&d, slice_str(name), AF_INET, &again);
        out_source_find(&three, slice_str(name), AF_INET, &fewer);
        assert_string_equal(text(&s, a), text(&again, b));
        n[a[8] - '1']++;
        assert_string_equal(s.helo, a[8] == '2' ? "two.example" : "");
        if (strcmp(text(&fewer, b), a) != 0) {
            assert_string_equal(a, "192.0.2.4");
            moved++;
        }
    }
    for (int i = 0; i < 4; i++)
        assert_true(n[i] > SITES / 5 && n[i] < SITES * 3 / 10);
    assert_int_equal(moved, n[3]);
}

/* Known after a restart and on another machine: the choice is part of what the world sees. */
static void the_choice_is_fixed(void **state)
{
    (void)state;
    struct conf_destination d = with(4);
    struct out_source s;
    char a[46];
    out_source_find(&d, SLICE_LIT("(alt1|alt2|aspmx).l.google.com"), AF_INET, &s);
    assert_string_equal(text(&s, a), "192.0.2.1");
    out_source_find(&d, SLICE_LIT("mx.example.com"), AF_INET, &s);
    assert_string_equal(text(&s, a), "192.0.2.4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_any_the_system_chooses),
        cmocka_unit_test(of_the_hosts_family),
        cmocka_unit_test(each_site_has_its_own),
        cmocka_unit_test(the_choice_is_fixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
