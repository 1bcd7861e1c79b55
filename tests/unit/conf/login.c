/* Logins at relays (75): a password is never shown in clear, nor to hosts that the DNS names, and
 * what contradicts itself is told with its line. What breaks for a user: his provider's password is
 * everybody's, or mail waits for a secret that cannot be there. */
#include "relay/base/buf.h"
#include "relay/conf/conf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RELAY                                                                                      \
    "hostname = relay.example.com\ndestination \"d\" { domains = { x }\n relay = { "               \
    "\"r.test:587\" } "

static char folder[] = "/tmp/unit_conf_login_XXXXXX";
static char file[64], secret[64];
static struct buf told = {.max = 1 << 16};

static void say(void *ctx, const char *line)
{
    (void)ctx;
    buf_addf(&told, "%s\n", line);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static struct conf *load(const char *text)
{
    buf_reset(&told);
    write_file(file, text, 0600);
    return conf_load(file, say, NULL);
}

static void test_login(void **state)
{
    (void)state;
    struct conf *c = load(RELAY "user = \"api key\" password-file = secret }");
    assert_non_null(c);
    const struct conf_destination *d = &c->destinations[0];
    assert_int_equal(d->tls, CONF_OUT_VERIFY); /* whoever asks for a password proves who he is */
    assert_string_equal(d->user, "api key");
    assert_string_equal(d->password_file, secret); /* beside the file */
    assert_int_equal(d->implicit_tls, CONF_IMPLICIT_AT_465);
    assert_string_equal(c->destinations[1].user, "");
    assert_int_equal(c->destinations[1].tls, CONF_OUT_MAY);
    conf_unref(c);
    c = load(RELAY "user = u tls = encrypt implicit-tls = always token-command = { \"/t\", a } "
                   "auth-mechanisms = { oauthbearer } }");
    assert_non_null(c);
    d = &c->destinations[0];
    assert_int_equal(d->tls, CONF_OUT_ENCRYPT);
    assert_int_equal(d->implicit_tls, CONF_IMPLICIT_ALWAYS);
    assert_int_equal(d->token_command.n, 2);
    assert_string_equal(d->token_command.items[1], "a");
    assert_string_equal(d->auth_mechanisms.items[0], "OAUTHBEARER");
    conf_unref(c);
}

static const struct {
    const char *text;
    unsigned line;
    const char *words;
} bad[] = {
    {RELAY "user = u\n }", 3, "needs one of password-file"},
    {RELAY "password-file = p\n }", 3, "has a secret and no user"},
    {RELAY "user = u\n password-file = p\n token-file = t\n }", 4, "needs one of"},
    {RELAY "user = u password-file = p\n tls = may }", 4, "would show its password in clear"},
    {RELAY "user = u password-file = p\n tls = none }", 4, "would show its password in clear"},
    {"hostname = a\ndestination \"d\" { domains = { x } password-file = p\n user = u }", 3,
     "no relay to log in at"},
    {RELAY "user = u password-file = p\n auth-mechanisms = { XOAUTH2 } }", 4,
     "none of its auth-mechanisms goes with a password-file"},
    {RELAY "user = u token-command = { \"/bin/t\" }\n auth-mechanisms = { PLAIN, LOGIN } }", 4,
     "none of its auth-mechanisms goes with a token-command"},
    {RELAY "user = u password-file = p\n auth-mechanisms = { CRAM-MD5 } }", 4,
     "is not one of SCRAM-SHA-256-PLUS"},
    {RELAY "implicit-tls = yes }", 3, "not one of port-465, always or never"},
    {RELAY "user = u\n token-command = { \"\" } }", 4, "is not a word of"},
};

static void test_contradictions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char place[100];
        snprintf(place, sizeof place, "%s:%u: ", file, bad[i].line);
        assert_null(load(bad[i].text));
        if (!strstr(buf_str(&told), place) || !strstr(buf_str(&told), bad[i].words))
            fail_msg("%s\nwas told as %s", bad[i].text, buf_str(&told));
    }
}

/* What is not there, or is everybody's, is told by `check` and at the start. */
static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        int mode; /* of `secret`; -1: not there */
        const char *words;
    } rows[] = {
        {"password-file = secret", 0640, ""},
        {"password-file = secret", 0644, "can be read by everyone"},
        {"token-file = secret", 0644, "can be read by everyone"},
        {"password-file = secret", -1, "No such file"},
        {"token-command = { secret }", 0700, "is not the path of a program"},
        {"token-command = { \"/no/such/program\" }", 0700, "No such file"},
        {"token-command = { \"/bin/true\" }", 0700, ""},
        {"token-command = { \"/tmp\" }", 0700, "cannot be run"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf text = BUF_MAX(4096);
        buf_addf(&text,
                 RELAY "user = u %s }\nspool { path = \"%s/s\" }\nlog { deliveries = \"%s/l\" }\n"
                       "control { socket = \"%s/c\" }\n",
                 rows[i].keys, folder, folder, folder);
        unlink(secret);
        if (rows[i].mode >= 0)
            write_file(secret, "x\n", (mode_t)rows[i].mode);
        struct conf *c = load(buf_str(&text));
        assert_non_null(c);
        unsigned problems = conf_check(c, say, NULL);
        if (problems != (rows[i].words[0] != 0) || !strstr(buf_str(&told), rows[i].words))
            fail_msg("%s: %u, %s", rows[i].keys, problems, buf_str(&told));
        conf_unref(c);
        buf_done(&text);
    }
    unlink(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_files),
    };
    if (!mkdtemp(folder))
        return 1;
    snprintf(file, sizeof file, "%s/postwain.conf", folder);
    snprintf(secret, sizeof secret, "%s/secret", folder);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file);
    rmdir(folder);
    buf_done(&told);
    return rc;
}
