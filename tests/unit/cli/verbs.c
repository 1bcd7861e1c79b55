/* Verbs as a script runs them: what is asked of the daemon, what is printed, and the exit code. The
 * daemon is a thread that answers by a script. */
#include "relay/base/defer.h"
#define FOLDER "/tmp/postwain-unit-verbs"
#include "tests/unit/cli/world.h"

static void test_unreachable(void **state)
{
    (void)state;
    static const char *const lines[] = {"status",       "queue",       "queue list",
                                        "queue show X", "queue cat X", "queue retry X",
                                        "reload",       "drain",       "stop"};
    unlink(FOLDER "/control.sock");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(run(lines[i]), CLI_UNREACHABLE);
        expect(err, "postwain serve");
    }
    assert_int_equal(run_with("status", "220 hello\n", (const char *const[]){NULL}),
                     CLI_UNREACHABLE);
    expect(err, "not postwain");
    assert_int_equal(
        run_with("status", "{\"postwain\":\"9\",\"protocol\":2}\n", (const char *const[]){NULL}),
        CLI_UNREACHABLE);
    expect(err, "same version");
    assert_int_equal(run_with("status", GREETING, (const char *const[]){NULL}), CLI_UNREACHABLE);
    expect(err, "went away");
}

static void test_list_and_show(void **state)
{
    (void)state;
    assert_int_equal(
        WITH("queue list --to *@b --limit 1", ROW DONE(1, "{\"matched\":5,\"next\":\"Q1/0\"}")), 0);
    expect_asked("{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"to\":\"*@b\"},"
                 "\"count\":false,\"brief\":true,"
                 "\"limit\":1}}");
    expect(out, "Q1");
    expect(out, "2.0K");
    expect(out, "<>");
    expect(out, "450 4.2.2  [31mfull");
    expect(err, "--after Q1/0");
    assert_int_equal(WITH("queue list --json", ROW DONE(1, "{\"matched\":1}")), 0);
    expect_asked("{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{},\"count\":false,"
                 "\"brief\":false}}"); /* scripts get every field */
    json_t *row = json_loads(out, 0, NULL);
    assert_string_equal(json_text(row, "recipient"), "a@b");
    json_decref(row);
    assert_int_equal(
        WITH("queue list --sort due --limit 9",
             "{\"id\":1,\"progress\":{\"matched\":1,\"changed\":0}}\n" ROW
             "{\"id\":1,\"progress\":{\"matched\":2,\"changed\":0}}\n" DONE(1, "{\"matched\":1}")),
        0);
    expect_asked(
        "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{},\"count\":false,\"brief\":true,"
        "\"limit\":9,\"sort\":\"due\"}}");
    expect(out, "Q1");
    assert_string_equal(err, ""); /* not at a terminal */
    assert_int_equal(run("queue list --sort name"), CLI_USAGE);
    expect(err, "due, age, size");
    assert_int_equal(
        WITH("queue list", "{\"id\":1,\"row\":{\"a\":{}}}\n" DONE(1, "{\"matched\":1}")),
        CLI_PARTLY);
    assert_int_equal(WITH("queue list --count", DONE(1, "{\"matched\":12}")), 0);
    assert_string_equal(out, "12\n");
    assert_int_equal(WITH("queue list", DONE(1, "{\"matched\":0}")), CLI_NOTHING);
    assert_string_equal(out, "");
    assert_int_equal(
        WITH("queue show Q1", ROW DONE(1, "{\"queue_id\":\"Q1\",\"sender\":\"s@b\",\"size\":7}")),
        0);
    expect_asked("{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"Q1\"}}");
    expect(out, "from        s@b");
    expect(out, "held after 3 attempts");
    assert_int_equal(
        WITH("queue show Q2",
             "{\"id\":1,\"error\":{\"code\":\"not-found\",\"message\":\"no such\"}}\n"),
        CLI_NOTHING);
    expect(err, "no such");
    assert_int_equal(run("queue show"), CLI_USAGE);
    assert_int_equal(run("queue show A B"), CLI_USAGE);
}

/* A slip of the pen is named as it was typed, and nothing is asked of the daemon. */
static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } rows[] = {
        {"status -xq", "unknown option -x"},
        {"queue list --to a@b -q", "unknown option -q"},
        {"queue list --nonsense=1", "unknown option --nonsense=1"},
        {"queue retry --all=now", "--all takes no value"},
        {"queue list --s held", "--s stands for several options"},
        {"queue list --limit", "--limit needs a value"},
        {"queue list -c", "-c needs a value"},
        {"queue list --limit 0", "--limit takes a number of rows, 1 or more"},
        {"suppress list --limit 0", "--limit takes a number of rows, 1 or more"},
        {"trace --site a --destination b", "--site means the same"},
        {"trace --count 0", "--count takes a number of rows, 1 or more"},
        {"queue list --after \xff", "--after takes the cursor"},
        {"queue hold --ids-from " FOLDER "/ids", "/ids:3: not_an_id is no queue id"},
        {"queue hold --ids-from " FOLDER "/raw", "/raw:1: ? is no queue id"},
    };
    write_file(FOLDER "/ids", "001MF7BDBW000\n\nnot_an_id\n001MF7BDBW001\n");
    write_file(FOLDER "/raw", "\xff\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(run(rows[i].line), CLI_USAGE);
        assert_string_equal(out, "");
        expect(err, rows[i].words);
        expect(err, "\nTry: postwain ");
    }
    write_file(FOLDER "/ids", " 001mf7bdbw000\r\n\n001MF7BDBW001");
    assert_int_equal(
        WITH("queue list --count --ids-from " FOLDER "/ids", DONE(1, "{\"matched\":2}")), 0);
    expect_asked(
        "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"id\":[\"001mf7bdbw000\","
        "\"001MF7BDBW001\"]},\"count\":true,\"brief\":true}}");
}

/* Byte for byte, pieces of any length. */
static void test_cat(void **state)
{
    (void)state;
    assert_int_equal(WITH("queue cat Q1", "{\"id\":1,\"row\":{\"data_base64\":\"QQ==\"}}\n"
                                          "{\"id\":1,\"row\":{\"data_base64\":\"DQoK\"}}\n"
                                          "{\"id\":1,\"row\":{\"data_base64\":\"\"}}\n"
                                          "{\"id\":1,\"row\":{\"data_base64\":\"//8=\"}}\n" DONE(
                                              1, "{\"size\":6}")),
                     0);
    assert_string_equal(out, "A\r\n\n\xff\xff");
    expect_asked("{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"Q1\",\"headers\":false}}");
    assert_int_equal(WITH("queue cat Q1 --headers",
                          "{\"id\":1,\"row\":{\"data_base64\":\"*\"}}\n" DONE(1, "{\"size\":6}")),
                     CLI_PARTLY);
}

#define MATCHED(n, m) DONE(n, "{\"matched\":" #m ",\"changed\":0,\"skipped\":0,\"failed\":0}")

static void test_act(void **state)
{
    (void)state;
    /* Never on everything by omission. */
    static const char *const wrong[] = {"queue remove", "queue retry --yes", "queue hold --dry-run",
                                        "queue remove --all X", "queue remove X --expect many"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(run(wrong[i]), CLI_USAGE);
    assert_int_equal(WITH("queue remove --to *@b --dry-run", ROW MATCHED(1, 12)), 0);
    expect_asked(
        "{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"to\":\"*@b\"},\"all\":false,"
        "\"dry_run\":true}}");
    expect(out, "a@b");
    expect(out, "and 11 more");
    expect(out, "nothing was done");
    assert_int_equal(WITH("queue remove X --expect 3", MATCHED(1, 2), MATCHED(2, 2)),
                     CLI_UNEXPECTED);
    assert_null(strstr(asked, "\"dry_run\":false"));
    assert_int_equal(WITH("queue remove X --yes", MATCHED(1, 0), MATCHED(2, 0)), CLI_NOTHING);
    assert_null(strchr(strchr(asked, '\n') + 1, '{'));
    assert_int_equal(WITH("queue hold --all --yes --expect 3 --reason why", MATCHED(1, 3),
                          DONE(2, "{\"matched\":3,\"changed\":2,\"skipped\":1,\"in_flight\":1,"
                                  "\"failed\":0}")),
                     0);
    expect(out, "3 matched, 2 changed, 1 skipped (1 in flight");
    memmove(asked, strchr(asked, '\n') + 1, strlen(strchr(asked, '\n')));
    expect_asked(
        "{\"id\":2,\"verb\":\"queue.hold\",\"args\":{\"filter\":{},\"all\":true,\"dry_run\":false,"
        "\"reason\":\"why\"}}");
    /* Told once for each cause, at no terminal either; then what comes of it. */
    assert_int_equal(
        WITH("queue hold X", MATCHED(1, 1),
             "{\"id\":2,\"progress\":{}}\n"
             "{\"id\":2,\"progress\":{\"waits_for\":\"no\\u001broom\"}}\n"
             "{\"id\":2,\"progress\":{\"waits_for\":\"no\\u001broom\"}}\n" MATCHED(2, 1)),
        0);
    expect(err, "waiting for the disk: no room.\n");
    expect(err, "Ctrl-C ends");
    assert_null(strstr(strstr(err, "waiting for") + 1, "waiting for"));
    assert_int_equal(WITH("queue retry X Y", MATCHED(1, 2),
                          DONE(2, "{\"matched\":2,\"changed\":1,\"skipped\":0,\"failed\":1}")),
                     CLI_PARTLY);
    assert_int_equal(WITH("queue release X", MATCHED(1, 1),
                          "{\"id\":2,\"error\":{\"code\":\"denied\",\"message\":\"not you\"}}\n"),
                     CLI_DENIED);
    expect(err, "not you");
}

static void test_plain(void **state)
{
    (void)state;
    assert_int_equal(WITH("reload", DONE(1, "{}")), 0);
    expect_asked("{\"id\":1,\"verb\":\"reload\",\"args\":{}}");
    assert_int_equal(
        WITH("reload",
             "{\"id\":1,\"error\":{\"code\":\"failed\",\"message\":\"f:1: a\\nf:2: b\"}}\n"),
        CLI_NOTHING);
    expect(err, "f:1: a\nf:2: b");
    assert_int_equal(WITH("drain", DONE(1, "{}")), 0);
    assert_int_equal(WITH("stop", DONE(1, "{}")), 0);
    assert_int_equal(run("stop now"), CLI_USAGE);
    assert_int_equal(run("version"), 0);
    expect(out, "postwain " PW_VERSION);
    assert_int_equal(run("version --json"), 0);
    assert_string_equal(out, "{\"version\":\"" PW_VERSION "\"}\n");
    assert_int_equal(WITH("drain --json", DONE(1, "{}")), 0);
    assert_string_equal(out, "{}\n");
    assert_int_equal(run("nonsense"), CLI_USAGE);
    assert_int_equal(run("help queue"), 0);
    expect(out, "usage: postwain queue");
}

static void test_status(void **state)
{
    (void)state;
#define SITE                                                                                       \
    "{\"id\":1,\"row\":{\"destination\":\"default\",\"site\":\"mx.b\",\"ready\":1,\"waiting\":2,"  \
    "\"connections\":3,\"window\":4,\"limit\":20,\"dead\":true,\"next_probe_seconds\":90}}\n"
    assert_int_equal(WITH("status", SITE DONE(1, "{\"version\":\"0.1.0\",\"uptime_seconds\":3600,"
                                                 "\"hostname\":\"h\",\"messages\":2,\"waiting\":2,"
                                                 "\"oldest_seconds\":61,\"accepting\":false,"
                                                 "\"warnings\":[\"disk \\u001b[1m low\"]}")),
                     0);
    expect(out, "postwain 0.1.0 on h, up 1h, accepting no new mail");
    expect(out, "oldest is 1m 1s old");
    expect(out, "unreachable, next probe in 1m 30s");
    expect(out, "warning: disk  [1m low");
    assert_int_equal(WITH("status --json", SITE DONE(1, "{\"messages\":2}")), 0);
    expect(out, "\n{\"messages\":2}\n");
    assert_int_equal(
        WITH("queue", SITE DONE(1, "{\"messages\":2,\"recipients\":3,\"age\":{\"1m\":1},"
                                   "\"errors\":[{\"response\":\"450 x\",\"count\":2}]}")),
        0);
    expect_asked("{\"id\":1,\"verb\":\"queue.summary\",\"args\":{}}");
    expect(out, "450 x");
    expect(out, "1m 1   10m 0");
    assert_int_equal(WITH("queue", DONE(1, "{\"messages\":0}")), 0);
    assert_string_equal(out, "the queue is empty\n");
}

/* What a user may do, changed and shown; whatever does not stand for anything is refused. */
static void user_options(void)
{
    static const char *const wrong[] = {
        "user set",
        "user set shop",
        "user set shop --from",
        "user set shop --max-size 5",
        "user set shop --max-recipients 0",
        "user set shop --priority urgent",
        "user set shop --tag team",
        "user set shop --certificate 00",
        "user set shop --burst x",
        "user set shop --unset name",
        "user set shop --unset scram",
        "user set shop --enabled --disabled",
        "user set shop --unset rate --burst 5", /* the line as a whole would be wrong */
        "user set shop --tag k=v --tag k=w",
    };
    assert_int_equal(run("user set shop --rate 50/10m --burst 200 --max-size 2M "
                         "--max-recipients 40 --tag team=shop --tag env=test --priority low "
                         "--destination default --disabled --certificate "
                         "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
                     0);
    assert_int_equal(run("user list --json"), 0);
    expect(out,
           "{\"user\":\"shop\",\"locked\":false,\"disabled\":true,\"scram\":true,"
           "\"from\":[\"*@shop.test\"],\"rate\":50,\"rate_seconds\":600,\"burst\":200,\"max_size\":"
           "2097152,"
           "\"max_recipients\":40,\"tags\":{\"team\":\"shop\",\"env\":\"test\"},\"rank\":\"low\","
           "\"destination\":\"default\",\"certificates\":"
           "[\"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"]}\n");
    assert_int_equal(run("user list"), 0);
    expect(out, "burst=200");
    expect(out, "disabled");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(run(wrong[i]), CLI_USAGE);
    assert_int_equal(run("user set nobody --rate 1/s"), CLI_NOTHING);
    assert_int_equal(run("user set shop --destination nowhere"), CLI_NOTHING);
    expect(err, "no destination \"nowhere\"");
    assert_int_equal(run("user set shop --enabled --unset rate --unset burst --unset tag"), 0);
    assert_int_equal(run("user list --json"), 0);
    expect(out, "\"disabled\":false");
    expect(out, "\"from\":[\"*@shop.test\"],\"max_size\":2097152");
}

/* The arguments of the last request are these. */
static void expect_last(const char *json)
{
    char *line = strrchr(asked, '{');
    while (line > asked && line[-1] != '\n')
        line--;
    memmove(asked, line, strlen(line) + 1);
    expect_asked(json);
}

/* redirect's --to is a destination, and priority's number may be below zero: neither is a filter
 * or an option. */
static void test_redirect_and_priority(void **state)
{
    (void)state;
    assert_int_equal(run("queue redirect --all"), CLI_USAGE);
    expect(err, "--to DESTINATION");
    assert_int_equal(run("queue redirect --to *@x.test --all"), CLI_USAGE);
    expect(err, "--recipient");
    assert_int_equal(run("queue redirect --to backup"), CLI_USAGE);
    expect(err, "say which");
    assert_int_equal(WITH("queue redirect --recipient *@x.test --to backup --yes", MATCHED(1, 1),
                          DONE(2, "{\"matched\":1,\"changed\":1,\"skipped\":0,\"failed\":0}")),
                     0);
    expect_last("{\"id\":2,\"verb\":\"queue.redirect\",\"args\":{\"filter\":{\"to\":\"*@x.test\"},"
                "\"all\":false,\"dry_run\":false,\"destination\":\"backup\"}}");
    for (const char *const *p = (const char *const[]){"queue priority --all", "queue priority 10 X",
                                                      "queue priority -- -1 X", NULL};
         *p; p++)
        assert_int_equal(run(*p), CLI_USAGE);
    expect(err, "-9 to 9");
    assert_int_equal(WITH("queue priority -6 X --yes", MATCHED(1, 1),
                          DONE(2, "{\"matched\":1,\"changed\":1,\"skipped\":0,\"failed\":0}")),
                     0);
    expect_last("{\"id\":2,\"verb\":\"queue.priority\",\"args\":{\"filter\":{\"id\":[\"X\"]},"
                "\"all\":false,\"dry_run\":false,\"priority\":-6}}");
}

static void test_init_user_check(void **state)
{
    (void)state;
    struct stat st;
    unsetenv("POSTWAIN_CONFIG");
    assert_int_equal(run("init " FOLDER "/new/relay --hostname relay.example.com"), 0);
    assert_true(stat(FOLDER "/new/relay/key.pem", &st) == 0 && (st.st_mode & 0777) == 0600);
    assert_true(stat(FOLDER "/new/relay/spool", &st) == 0 && (st.st_mode & 0777) == 0700);
    assert_true(stat(FOLDER "/new/relay/users", &st) == 0 && (st.st_mode & 0777) == 0640);
    assert_int_equal(run("init " FOLDER "/new/relay"), CLI_NOTHING);
    expect(err, "nothing was changed");
    setenv("POSTWAIN_CONFIG", FOLDER "/new/relay/postwain.conf", 1);
    assert_int_equal(run("check"), 0);
    expect(out, "ok");
    assert_int_equal(run("user list"), CLI_NOTHING);
    assert_int_equal(run("user add shop --from *@shop.test --rate 5/s"), 0);
    expect(out, "587 (STARTTLS)");
    expect(out, "shown only now");
    write_file(FOLDER "/in", "secret word\nrest");
    assert_int_equal(run("user add two --password-stdin"), 0);
    assert_null(strstr(out, "secret"));
    assert_int_equal(run("user add two --password-stdin"), CLI_NOTHING);
    expect(err, "exists already");
    assert_int_equal(run("user password two --json"), 0);
    expect(out, "\"password\":\"");
    write_file(FOLDER "/in", "\n");
    assert_int_equal(run("user password two --password-stdin"), CLI_USAGE);
    assert_int_equal(run("user list --json"), 0);
    expect(out, "{\"user\":\"shop\",\"locked\":false,\"disabled\":false,\"scram\":true,"
                "\"from\":[\"*@shop.test\"],\"rate\":5,\"rate_seconds\":1,\"burst\":5}\n");
    user_options();
    static const char *const wrong[] = {"user add",
                                        "user add a b",
                                        "user add a:b",
                                        "user add x --from a,b",
                                        "user add x --from example.com",
                                        "user add x --rate 5",
                                        "user remove",
                                        "user",
                                        "user nonsense"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(run(wrong[i]), CLI_USAGE);
    assert_int_equal(run("user remove two"), 0);
    assert_int_equal(run("user remove two"), CLI_NOTHING);
    assert_int_equal(run("check"), 0);
    /* A key of another certificate. */
    assert_int_equal(run("init " FOLDER "/new/other --hostname other.example.com"), 0);
    assert_int_equal(rename(FOLDER "/new/other/key.pem", FOLDER "/new/relay/key.pem"), 0);
    assert_int_equal(run("check"), CLI_NOTHING);
    expect(err, "key values mismatch");
    assert_int_equal(run("check -c " FOLDER "/none"), CLI_NOTHING);
    expect(err, "postwain init");
    setenv("POSTWAIN_CONFIG", CONF, 1);
}

#define EVENT(seq, name, to)                                                                       \
    "{\"v\":1,\"seq\":" #seq ",\"time\":\"2026-01-02T03:04:05.000000Z\",\"event\":\"" name         \
    "\",\"queue_id\":\"Q" #seq "\",\"recipient\":\"" to "\"}\n"

#define TAGGED(seq)                                                                                \
    "{\"v\":1,\"seq\":" #seq ",\"event\":\"held\",\"tags\":{\"to\":\"all\",\"run\":\"" #seq "\"}}" \
    "\n"

static void test_log(void **state)
{
    (void)state;
    write_file(FOLDER "/delivery-20260101T000000Z-2.jsonl", EVENT(2, "accepted", "b@x"));
    write_file(FOLDER "/delivery-20250101T000000Z-1.jsonl", EVENT(1, "accepted", "a@x"));
    write_file(FOLDER "/delivery.jsonl",
               EVENT(3, "delivered", "a@x") "torn\n" EVENT(4, "bounced", "b@y") "{\"seq\":5,\"ev");
    assert_int_equal(run("log --json"), 0);
    assert_string_equal(out, EVENT(3, "delivered", "a@x") EVENT(4, "bounced", "b@y"));
    assert_int_equal(run("log --since-seq 0 --json"), 0);
    assert_string_equal(out, EVENT(1, "accepted", "a@x") EVENT(2, "accepted", "b@x")
                                 EVENT(3, "delivered", "a@x") EVENT(4, "bounced", "b@y"));
    assert_int_equal(run("log --since-seq 1 --json --to b@*"), 0);
    assert_string_equal(out, EVENT(2, "accepted", "b@x") EVENT(4, "bounced", "b@y"));
    assert_int_equal(run("log --event bounced"), 0);
    assert_string_equal(out, "2026-01-02 03:04:05  bounced      Q4  <> -> b@y\n");
    assert_int_equal(run("log --id Q9"), CLI_NOTHING);
    write_file(FOLDER "/delivery.jsonl", EVENT(3, "delivered", "a@x") TAGGED(4) TAGGED(5));
    assert_int_equal(run("log --tag run=4 --json"), 0);
    assert_string_equal(out, TAGGED(4));
    assert_int_equal(run("log --tag run=* --tag to=a* --json"), 0);
    assert_string_equal(out, TAGGED(4) TAGGED(5));
    assert_int_equal(run("log --tag ru=*"), CLI_NOTHING);
    assert_int_equal(run("log --since-seq x"), CLI_USAGE);
    assert_int_equal(run("log Q1"), CLI_USAGE);
    assert_int_equal(run("log --schema"), 0);
    json_t *schema = json_loads(out, 0, NULL);
    assert_non_null(schema);
    json_decref(schema);
}

/* Each help fits a screen and shows an example. */
static void test_help(void **state)
{
    (void)state;
    static const char *const lines[] = {"init --help",       "check -h",
                                        "user --help",       "user add --help",
                                        "user list --help",  "user remove --help",
                                        "user set --help",   "user password -h",
                                        "status --help",     "queue --help",
                                        "queue list --help", "queue show --help",
                                        "queue cat --help",  "queue retry -h",
                                        "queue hold -h",     "queue release -h",
                                        "queue remove -h",   "log --help",
                                        "reload --help",     "drain --help",
                                        "stop --help",       "help"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        unsigned height = 0, width = 0;
        assert_int_equal(run(lines[i]), 0);
        expect(out, "usage: postwain ");
        if (strcmp(lines[i], "help") != 0)
            expect(out, "\nexample");
        for (const char *p = out; *p; p++) {
            height += *p == '\n';
            width = *p == '\n' ? 0 : width + 1;
            if (width > 100)
                fail_msg("%s: a line is too long", lines[i]);
        }
        if (height > 32)
            fail_msg("%s: %u lines", lines[i], height);
    }
}

static int begin(void **state)
{
    (void)state;
    static const char *const made[] = {"relay", "other"};
    static const char *const names[] = {"postwain.conf", "cert.pem", "key.pem", "users"};
    mkdir(FOLDER, 0700);
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++) {
            char path[200];
            snprintf(path, sizeof path, FOLDER "/new/%s/%s", made[i], names[k]);
            unlink(path);
        }
    write_file(FOLDER "/in", "");
    write_file(CONF, "hostname = h.test\ncontrol { socket = control.sock }\n"
                     "log { deliveries = delivery.jsonl }\n");
    setenv("POSTWAIN_CONFIG", CONF, 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_list_and_show),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_cat),
        cmocka_unit_test(test_act),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_redirect_and_priority),
        cmocka_unit_test(test_init_user_check),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
