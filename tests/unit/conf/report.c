/* What becomes of reports, as an administrator writes it. */
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/conf/conf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/postwain-unit-conf-report-XXXXXX";
static struct buf told = {.max = 65536};

static void say(void *ctx, const char *line)
{
    (void)ctx;
    buf_addf(&told, "%s\n", line);
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    MUST(f);
    fputs(text, f);
    fclose(f);
}

static struct conf *load(const char *text)
{
    buf_reset(&told);
    write_file("conf", text);
    return conf_load("conf", say, NULL);
}

#define HOST "hostname = relay.example.com\n"

/* Reports that cannot be delivered go to an address that somebody has named, or nowhere. */
static void test_double_bounces(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *want;
    } rows[] = {
        {"", ""},
        {"postmaster = pm@x.test", "pm@x.test"},
        {"delivery { double-bounces = postmaster }", "postmaster@relay.example.com"},
        {"postmaster = pm@x.test delivery { double-bounces = postmaster }", "pm@x.test"},
        {"postmaster = pm@x.test delivery { double-bounces = log }", ""},
        {"postmaster = pm@x.test delivery { double-bounces = ops@x.test }", "ops@x.test"},
        {"delivery { double-bounces = ops@x.test }", "ops@x.test"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf text = BUF_MAX(1000);
        buf_addf(&text, HOST "%s\n", rows[i].keys);
        struct conf *c = load(buf_str(&text));
        assert_non_null(c);
        assert_string_equal(c->double_bounces, rows[i].want);
        conf_unref(c);
    }
}

/* The words of reports are read with the configuration, and refused with it, by their own lines. */
static void test_report_template(void **state)
{
    (void)state;
    write_file("reports", "[failure]\n${recipients}\n");
    struct conf *c = load(HOST "delivery { report-template = reports }");
    assert_non_null(c);
    assert_non_null(c->report_words);
    conf_unref(c);
    write_file("reports", "[failure]\n${recipients}\n${nobody}\n");
    assert_null(load(HOST "delivery { report-template = reports }"));
    assert_non_null(strstr(buf_str(&told), "reports:3: there is no variable ${nobody}"));
    remove("reports");
}

static int begin(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    buf_done(&told);
    return unlink("conf") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double_bounces),
        cmocka_unit_test(test_report_template),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
