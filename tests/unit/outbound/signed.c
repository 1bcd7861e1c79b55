/* Reports of our own are mail like any other: without a signature those who ask for DMARC drop
 * them, and the sender hears nothing. The largest ones still fit into the spool. */
#include "relay/mail/dkim.h"
#include "tests/unit/outbound/world.h"

#define KEYS 3
static char folder[] = "/tmp/unit_outbound_signed_XXXXXX";

static void write_key(unsigned i)
{
    char path[64];
    struct buf pem = BUF_MAX(DKIM_KEY_PEM_MAX);
    struct err e;
    assert_int_equal(dkim_key_make(i ? DKIM_RSA : DKIM_ED25519, 2048, &pem, &e), 0);
    snprintf(path, sizeof path, "%s/%u.pem", folder, i);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(pem.p, 1, pem.n, f), pem.n);
    fclose(f);
    buf_done(&pem);
}

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fail_msg("%s", line);
}

/* n keys for a domain. */
static struct world *signing_world(const char *domain, unsigned n)
{
    char more[600], keys[300] = "", selectors[100] = "";
    for (unsigned i = 0; i < n; i++) {
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys), "%s\"%s/%u.pem\"", i ? "," : "",
                 folder, i);
        snprintf(selectors + strlen(selectors), sizeof selectors - strlen(selectors), "%ss%u",
                 i ? "," : "", i);
    }
    snprintf(more, sizeof more, "} dkim \"%s\" { selector = { %s } key = { %s }", domain, selectors,
             keys);
    struct world *w = world_new(0, more);
    assert_int_equal(conf_load_keys(w->conf, say_problem, NULL), 0);
    return w;
}

static struct out_dsn *dsn(size_t n)
{
    struct out_dsn *d = must_alloc(sizeof *d);
    d->msg.type = OUT_DSN;
    d->message_id = 77;
    d->to = buf_of(SLICE_LIT("sender@d.test"));
    d->queued = wall_now();
    d->n = n;
    d->rcpts = must_alloc(n * sizeof *d->rcpts);
    for (size_t i = 0; i < n; i++) {
        char address[64];
        snprintf(address, sizeof address, "r%zu@d.test", i);
        d->rcpts[i].address = buf_of(slice_str(address));
        d->rcpts[i].host = buf_of(SLICE_LIT("mx.d.test"));
        d->rcpts[i].verdict = (struct verdict){
            .kind = VERDICT_FAILED, .phase = PHASE_RCPT, .code = 550, .enhanced = {5, 1, 1}};
        verdict_set_text(&d->rcpts[i].verdict, SLICE_LIT("there is nobody with that name here"));
    }
    return d;
}

static size_t signatures(struct slice s)
{
    size_t n = 0;
    for (size_t at; (at = slice_find_slice(s, SLICE_LIT("DKIM-Signature: "))) < s.n; n++)
        s = slice_skip(s, at + 1);
    return n;
}

static void reports(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        unsigned keys, signatures;
        size_t recipients;
    } rows[] = {
        {"relay.test", 1, 1, 1},           {"relay.test", KEYS, KEYS, 1}, {"other.test", 1, 0, 1},
        {"relay.test", KEYS, KEYS, 700}, /* as large as a report gets */
        {"relay.test", KEYS, KEYS, 65535},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world *w = signing_world(rows[i].domain, rows[i].keys);
        port_send(outbound_port(w->out), &dsn(rows[i].recipients)->msg);
        struct spooler_store *s = told(w, SPOOLER_STORE);
        const struct slice report = slice_of(s->body->bytes, s->body->n);
        assert_int_equal(signatures(report), rows[i].signatures);
        assert_true(slice_starts(report, SLICE_LIT("DKIM-Signature: ")) ==
                    (rows[i].signatures > 0));
        assert_true(report.n <= SPOOL_INLINE_MAX);
        assert_int_equal(s->envelope.size, report.n);
        assert_true(slice_find_slice(report, SLICE_LIT("multipart/report")) < report.n);
        body_unref(s->body); /* the spooler takes it */
        s->body = NULL;
        port_send(s->reply, &s->msg);
        told_nothing(w);
        world_free(w);
    }
}

int main(void)
{
    char command[100];
    assert_non_null(mkdtemp(folder));
    for (unsigned i = 0; i < KEYS; i++)
        write_key(i);
    const struct CMUnitTest tests[] = {cmocka_unit_test(reports)};
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return failed || system(command) ? 1 : 0;
}
