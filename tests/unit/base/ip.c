/* What an address is good for: the borders of each network, and what lies inside another. */
#include "relay/base/ip.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text;
    enum ip_reach reach;
} reaches[] = {
    {"8.8.8.8", IP_PUBLIC},
    {"0.0.0.0", IP_NEVER},
    {"0.1.2.3", IP_NEVER},
    {"9.255.255.255", IP_PUBLIC},
    {"10.0.0.0", IP_PRIVATE},
    {"10.255.255.255", IP_PRIVATE},
    {"11.0.0.0", IP_PUBLIC},
    {"100.63.255.255", IP_PUBLIC},
    {"100.64.0.0", IP_PRIVATE},
    {"100.127.255.255", IP_PRIVATE},
    {"100.128.0.0", IP_PUBLIC},
    {"127.0.0.1", IP_PRIVATE},
    {"127.255.255.255", IP_PRIVATE},
    {"169.254.169.254", IP_PRIVATE},
    {"172.15.255.255", IP_PUBLIC},
    {"172.16.0.0", IP_PRIVATE},
    {"172.31.255.255", IP_PRIVATE},
    {"172.32.0.0", IP_PUBLIC},
    {"192.0.2.1", IP_PRIVATE},
    {"192.167.255.255", IP_PUBLIC},
    {"192.168.0.1", IP_PRIVATE},
    {"192.169.0.0", IP_PUBLIC},
    {"198.17.255.255", IP_PUBLIC},
    {"198.18.0.0", IP_PRIVATE},
    {"198.19.255.255", IP_PRIVATE},
    {"198.20.0.0", IP_PUBLIC},
    {"203.0.113.1", IP_PRIVATE},
    {"223.255.255.255", IP_PUBLIC},
    {"224.0.0.1", IP_NEVER},
    {"255.255.255.255", IP_NEVER},
    {"2600::1", IP_PUBLIC},
    {"::", IP_NEVER},
    {"::1", IP_PRIVATE},
    {"::2", IP_NEVER},
    {"::127.0.0.1", IP_NEVER},
    {"fc00::1", IP_PRIVATE},
    {"fdff::1", IP_PRIVATE},
    {"fe00::1", IP_PUBLIC},
    {"fe80::1", IP_PRIVATE},
    {"febf::1", IP_PRIVATE},
    {"fec0::1", IP_PRIVATE},
    {"ff02::1", IP_NEVER},
    {"2001:db8::1", IP_PRIVATE},
    {"2001:db9::1", IP_PUBLIC},
    {"2001:0::1", IP_PRIVATE},
    {"2001:4860:4860::8888", IP_PUBLIC},
    {"100::1", IP_NEVER},
    {"100:0:0:1::1", IP_PUBLIC},
    {"::ffff:8.8.8.8", IP_PUBLIC},
    {"::ffff:127.0.0.1", IP_PRIVATE},
    {"::ffff:0.0.0.0", IP_NEVER},
    {"64:ff9b::808:808", IP_PUBLIC},
    {"64:ff9b::7f00:1", IP_PRIVATE},
    {"2002:808:808::1", IP_PUBLIC},
    {"2002:a00:1::1", IP_PRIVATE},
    {"10.0.0.1", IP_PRIVATE},
    {"100.64.0.1", IP_PRIVATE},
    {"127.255.255.254", IP_PRIVATE},
    {"172.16.0.1", IP_PRIVATE},
    {"192.0.0.8", IP_PRIVATE},
    {"192.88.99.1", IP_PRIVATE},
    {"192.168.1.1", IP_PRIVATE},
    {"198.18.0.1", IP_PRIVATE},
    {"198.51.100.1", IP_PRIVATE},
    {"239.255.255.255", IP_NEVER},
    {"240.0.0.1", IP_NEVER},
    {"64:ff9b::10.0.0.1", IP_PRIVATE},
    {"64:ff9b:1::1", IP_PRIVATE},
    {"2001::1", IP_PRIVATE},
    {"2002:7f00:1::", IP_PRIVATE},
    {"3fff::1", IP_PRIVATE},
    {"::ffff:192.168.0.1", IP_PRIVATE},
    {"5f00::1", IP_PRIVATE},
    {"1.1.1.1", IP_PUBLIC},
    {"126.255.255.255", IP_PUBLIC},
    {"128.0.0.1", IP_PUBLIC},
    {"169.253.0.1", IP_PUBLIC},
    {"192.0.1.1", IP_PUBLIC},
    {"64:ff9b::8.8.8.8", IP_PUBLIC},
    {"2001:4860::1", IP_PUBLIC},
    {"2001:200::1", IP_PUBLIC},
    {"2a00:1450:4001::1a", IP_PUBLIC},
    {"2606:4700::1", IP_PUBLIC},
    {"2001:db7::1", IP_PUBLIC},
    {"3ffe::1", IP_PUBLIC},
    {"fbff::1", IP_PUBLIC},
};

static void test_reaches(void **state) /* checklist 47 */
{
    (void)state;
    for (size_t i = 0; i < sizeof reaches / sizeof reaches[0]; i++) {
        uint8_t bytes[16];
        int family = strchr(reaches[i].text, ':') ? AF_INET6 : AF_INET;
        assert_int_equal(inet_pton(family, reaches[i].text, bytes), 1);
        if (ip_reach(family, bytes) != reaches[i].reach)
            fail_msg("%s", reaches[i].text);
    }
    assert_int_equal(ip_reach(AF_UNIX, (const uint8_t *)"8.8."), IP_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reaches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
