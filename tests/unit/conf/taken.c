/* What the configuration names twice. If this breaks, the delivery log is written over a file of
 * keys, or an administrator hears of two doors at one address only when the relay does not start.
 */
#define FOLDER "/tmp/postwain-unit-conf-taken"
#include "tests/unit/conf/world.h"

#define ON(address)                                                                                \
    "listener \"a\" { address = { \"" address                                                      \
    "\" } tls = none auth = none trust = { 10.0.0.0/8 } }\n"
#define TAKEN "is taken by"

/* Each text is refused with this line number and these words. */
static const struct {
    const char *text;
    unsigned line;
    const char *words;
} bad[] = {
    {HOST ON("127.0.0.1:25") "http {\n address = \"127.0.0.1:25\" }", 4, TAKEN},
    {HOST ON("0.0.0.0:25") "http { address = \"127.0.0.1:25\" }", 3, TAKEN},
    {HOST ON("127.0.0.1:25") "http { address = \"0.0.0.0:25\" }", 3, TAKEN},
    {HOST ON("[::]:25") "http { address = \"[::1]:25\" }", 3, TAKEN},
    {HOST ON("127.0.0.1:25") "http { address = \"[::]:25\" }", 3, TAKEN}, /* takes IPv4, too */
    {HOST "http { address = \"127.0.0.1:587\" }", 2, TAKEN}, /* the listener that comes by itself */
    {HOST "log { deliveries = \"/a/b\" }\ncontrol { socket = \"/a//./b\" }", 3,
     "socket: /a//./b is the path of log.deliveries already"},
    {HOST "spool { path = \"/a\" }\nlog { deliveries = \"/a\" }", 3, "path of spool.path already"},
    {HOST "users { file = \"/a\" }\nlog { deliveries = \"/a\" }", 2, "path of log.deliveries"},
    {HOST "tls { certificate = c\n key = k }\ncontrol { socket = k }", 3, "path of control.socket"},
    {HOST
     "listener \"a\" { address = \"1.2.3.4:25\"\n client-ca = x\n client-certificates = require "
     "}\nlog { deliveries = x }",
     3, "path of log.deliveries"},
    {HOST "destination \"d\" { domains = { x }\n capture = \"/a\" }\nspool { path = \"/a\" }", 3,
     "capture: /a is the path of spool.path"},
    {HOST "dkim \"a.test\" { selector = s\n key = k }\nlog { deliveries = k }", 3,
     "path of log.deliveries"},
};

static void test_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char place[200];
        assert_null(load(bad[i].text));
        snprintf(place, sizeof place, "%s:%u: ", FILE_NAME, bad[i].line);
        bool found = false;
        for (struct slice rest = buf_slice(&told); rest.n && !found;) {
            struct slice line = slice_cut(&rest, '\n'), words = slice_str(bad[i].words);
            found = slice_starts(line, slice_str(place)) && slice_find_slice(line, words) < line.n;
        }
        if (!found)
            fail_msg("%s: %s", bad[i].text, buf_str(&told));
    }
}

/* What looks like it and is not: other ports, the other family, a more exact address beside all. */
static void test_not_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        HOST ON("127.0.0.1:25") "http { address = \"127.0.0.1:26\" }",
        HOST ON("127.0.0.1:25") "http { address = \"127.0.0.2:25\" }",
        HOST ON("0.0.0.0:25") "http { address = \"[::1]:25\" }",
        HOST ON("[::]:25") "http { address = \"127.0.0.1:25\" }",
        HOST ON("0.0.0.0:25\", \"127.0.0.1:25\", \"[::]:25"),
        HOST USERS "tls { certificate = c\n key = c }", /* in one file */
        HOST "spool { path = \"/a\" }\nlog { deliveries = \"/a/a\" }",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct conf *c = load(good[i]);
        if (!c)
            fail_msg("%s: %s", good[i], buf_str(&told));
        conf_unref(c);
    }
}

/* A dead socket is replaced at the start; what else lies there is somebody's. */
static void test_no_socket(void **state)
{
    (void)state;
    write_file(FOLDER "/ctl", "a letter");
    struct conf *c = load(HOST "spool { path = new/spool }\nlog { deliveries = new/log }\n"
                               "control { socket = ctl }");
    assert_non_null(c);
    assert_int_equal(conf_check(c, say, NULL), 1);
    assert_non_null(
        strstr(buf_str(&told), ":4: socket: something else is at " FOLDER "/ctl: choose a path"));
    conf_unref(c);
    unlink(FOLDER "/ctl");
}

int main(void)
{
    mkdir(FOLDER, 0700);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_taken),
                                       cmocka_unit_test(test_not_taken),
                                       cmocka_unit_test(test_no_socket)};
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&told);
    return rc;
}
