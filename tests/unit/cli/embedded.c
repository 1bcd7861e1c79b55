/* Texts that the program carries are the files they come from. After a change of such a file:
 * UPDATE=1 unit_cli_embedded */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
    const char *source, *carried;
    const char *const *lines;
} texts[] = {
    {"../contrib/examples/postwain.conf", "../relay/cli/init_template.inc", init_template},
    {"../contrib/schema/postwain-events.v1.json", "../relay/cli/log_schema.inc", log_schema},
};

static char *next_line(FILE *f, char *line, size_t size)
{
    if (!fgets(line, (int)size, f))
        return NULL;
    size_t n = strlen(line);
    MUST(n > 0 && line[n - 1] == '\n');
    line[n - 1] = 0;
    return line;
}

static void update(size_t i)
{
    char line[4096];
    FILE *in = fopen(texts[i].source, "r"), *out = fopen(texts[i].carried, "w");
    MUST(in && out);
    while (next_line(in, line, sizeof line)) {
        fputs("    \"", out);
        for (const char *p = line; *p; p++)
            fprintf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
        fputs("\",\n", out);
    }
    fclose(in);
    fclose(out);
}

static void test_texts_are_their_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char line[4096];
        if (getenv("UPDATE")) {
            update(i);
            continue;
        }
        FILE *f = fopen(texts[i].source, "r");
        assert_non_null(f);
        const char *const *p = texts[i].lines;
        for (; next_line(f, line, sizeof line); p++) {
            if (!*p || strcmp(*p, line) != 0)
                fail_msg("%s: \"%s\" is not in %s: UPDATE=1 unit_cli_embedded, then build",
                         texts[i].source, line, texts[i].carried);
        }
        assert_null(*p);
        fclose(f);
    }
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    print_error("%s\n", line);
}

/* What `init` writes is loaded without a problem, here and in /etc, and names only what init makes.
 */
static void test_template_is_a_configuration(void **state)
{
    (void)state;
    static const struct init_names names[] = {
        {"/etc/postwain", "relay.example.com", NULL},
        {"/srv/my relay", "mail.example.org", "postwain"},
    };
    for (size_t i = 0; i < 2; i++) {
        struct buf text = BUF_MAX(65536);
        char path[] = "/tmp/postwain-unit-embedded.XXXXXX";
        init_write_conf(&text, &names[i]);
        int fd = mkstemp(path);
        assert_true(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
        close(fd);
        struct conf *c = conf_load(path, say, NULL);
        assert_non_null(c);
        assert_string_equal(c->hostname, names[i].hostname);
        assert_string_equal(c->user, names[i].user ? names[i].user : "");
        assert_int_equal(c->n_listeners, 2);
        if (i == 1) {
            assert_string_equal(c->spool_path, "/srv/my relay/spool");
            assert_string_equal(c->tls[0].key.items[0], "/srv/my relay/key.pem");
            assert_string_equal(c->log_deliveries, "/srv/my relay/delivery.jsonl");
            assert_string_equal(c->control_socket, "/srv/my relay/control.sock");
            assert_int_equal(slice_find_slice(buf_slice(&text), SLICE_LIT("/etc/postwain")),
                             text.n);
        }
        conf_unref(c);
        unlink(path);
        buf_done(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts_are_their_files),
                                       cmocka_unit_test(test_template_is_a_configuration)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
