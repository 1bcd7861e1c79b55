/* `explain` for a person: each kind of row in words, nothing raw on the screen. If this breaks, the
 * one who looks at three in the morning reads something else than the daemon has said. */
#define FOLDER "/tmp/postwain-unit-explain"
#include "tests/unit/cli/world.h"

static void test_explain(void **state)
{
    (void)state;
#define TOLD(json) "{\"id\":1,\"row\":" json "}\n"
    assert_int_equal(
        WITH(
            "explain b@b.test --user shop",
            TOLD("{\"about\":\"way\",\"recipient\":\"b@b.test\",\"recipient_domain\":\"b.test\"}")
                TOLD("{\"about\":\"destination\",\"destination\":\"d\",\"rule\":\"mx\","
                     "\"pattern\":\"*.x\",\"tls_policy\":\"may\",\"tls_from\":\"configuration\","
                     "\"limit\":1,\"rate\":1,\"rate_seconds\":60,\"lifetime_seconds\":3600}")
                    TOLD("{\"about\":\"dns\",\"name\":\"b.test\",\"type\":\"MX\",\"status\":\"ok\","
                         "\"ttl\":9,\"mx\":[{\"preference\":10,\"mx_host\":\"mx\\u001b.x\"}]}")
                        TOLD("{\"about\":\"host\",\"turn\":1,\"mx_host\":\"mx.x\",\"mx_ip\":\"192."
                             "0.2."
                             "1\","
                             "\"mx_port\":25,\"helo\":\"r.test\",\"no_answer_lately\":true,"
                             "\"no_answer_threads\":1,\"threads\":2}")
                            TOLD(
                                "{\"about\":\"host\",\"mx_host\":\"mx2.x\",\"left_out\":\"does not "
                                "exist\"}")
                                TOLD(
                                    "{\"about\":\"site\",\"site\":\"mx.x\",\"known\":true,"
                                    "\"ready\":3,"
                                    "\"waiting\":4,"
                                    "\"connections\":1,\"window\":2,\"limit\":20,\"dead\":true,"
                                    "\"next_probe_seconds\":90,\"last_error\":\"refused\",\"rank\":"
                                    "\"low\","
                                    "\"ahead\":7,\"users\":2}")
                                    TOLD("{\"about\":\"of a later version\"}")
                                        DONE(1, "{\"ways\":1,\"more\":2}")),
        0);
    expect_asked("{\"id\":1,\"verb\":\"explain\",\"args\":{\"address\":\"b@b.test\","
                 "\"user\":\"shop\"}}");
    expect(out, "the way to b@b.test\n");
    expect(out, "1 connection, 1 message in 60 s; given up after 1h\n");
    expect(out, "d: its mx matches the mail hosts by *.x\n");
    expect(out, "b.test MX: 10 mx .x (for 9 s)\n");
    expect(
        out,
        "host 1       mx.x [192.0.2.1]:25, as r.test; did not answer lately, so it is called last "
        "by 1 of 2 threads\n");
    expect(out, "not called   mx2.x: does not exist\n");
    expect(out, "mx.x: 3 due, 4 waiting; 1 of 2 connections now, 20 at most\n");
    expect(out, "one connection tries it in 1m 30s\n");
    expect(out, "7 recipients of the same user before it, which takes turns with 1 other user (");
    expect(out, "and 2 recipients more");
    assert_int_equal(
        WITH("explain b@b.test --json", TOLD("{\"about\":\"way\"}") DONE(1, "{\"ways\":1}")), 0);
    assert_string_equal(out, "{\"about\":\"way\"}\n{\"ways\":1}\n");
    assert_int_equal(WITH("explain 0123456789ABC",
                          "{\"id\":1,\"error\":{\"code\":\"not-found\",\"message\":\"gone\"}}\n"),
                     CLI_NOTHING);
    expect_asked("{\"id\":1,\"verb\":\"explain\",\"args\":{\"id\":\"0123456789ABC\"}}");
    assert_int_equal(run("explain"), CLI_USAGE);
    assert_int_equal(run("explain nonsense"), CLI_USAGE);
    expect(err, "nonsense is neither a queue id nor an address");
}

static int begin(void **state)
{
    (void)state;
    mkdir(FOLDER, 0700);
    write_file(FOLDER "/in", "");
    write_file(CONF, "hostname = h.test\ncontrol { socket = control.sock }\n"
                     "log { deliveries = delivery.jsonl }\n");
    setenv("POSTWAIN_CONFIG", CONF, 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_explain)};
    return cmocka_run_group_tests(tests, begin, NULL);
}
