/* Failures become one report that enters the spooler, whatever was failed and said. */
#include "tests/unit/outbound/world.h"

static struct out_dsn *dsn(size_t n, size_t words, size_t original, bool whole)
{
    struct out_dsn *d = must_alloc(sizeof *d);
    char *text = must_alloc(words + 1);
    memset(text, 'w', words);
    d->msg.type = OUT_DSN;
    d->message_id = 77;
    d->serial = 5;
    d->to = buf_of(SLICE_LIT("sender@relay.test"));
    d->queued = wall_now();
    d->n = n;
    d->rcpts = must_alloc(n * sizeof *d->rcpts);
    for (size_t i = 0; i < n; i++) {
        char address[64];
        snprintf(address, sizeof address, "r%zu@a-domain-with-some-length.test", i);
        d->rcpts[i].address = buf_of(slice_str(address));
        d->rcpts[i].host = buf_of(SLICE_LIT("mx.a-domain-with-some-length.test"));
        d->rcpts[i].verdict = (struct verdict){
            .kind = VERDICT_FAILED, .phase = PHASE_RCPT, .code = 550, .enhanced = {5, 1, 1}};
        verdict_set_text(&d->rcpts[i].verdict, slice_of(text, words));
    }
    d->original = body_new(original);
    d->original_whole = whole;
    const char head[] = "Subject: the original\r\nX-Long: ";
    for (size_t i = 0; i < original; i++)
        d->original->bytes[i] =
            (uint8_t)(i < sizeof head - 1 ? head[i] : "y\r\n\t"[i % 100 < 97 ? 0 : i % 100 - 96]);
    free(text);
    return d;
}

static bool has(const struct body *b, const char *s)
{
    return slice_find_slice(slice_of(b->bytes, b->n), slice_str(s)) < b->n;
}

static void always_one_report(void **state)
{
    (void)state;
    static const struct {
        size_t n, words, original;
        bool whole;
        const char *with, *without;
    } cases[] = {
        {1, 20, 1000, true, "message/rfc822", "more recipients"},
        {1, 20, 60000, true, "text/rfc822-headers", "more recipients"},
        {1, 20, 0, false, "Final-Recipient: rfc822; r0@", "more recipients"},
        {1, 5000, 250000, false, "Final-Recipient: rfc822; r0@", "more recipients"},
        {100, 1024, 50000, true, "Final-Recipient: rfc822; r99@", "more recipients"},
        {250, 1024, 50000, true, "Final-Recipient: rfc822; r249@", "more recipients"},
        {1000, 1024, 250000, false, "and 800 more recipients", "r200@"},
        {65535, 1024, 50000, true, "Undelivered mail to 65535 recipients", "r200@"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_new(0, "");
        struct out_dsn *d = dsn(cases[i].n, cases[i].words, cases[i].original, cases[i].whole);
        port_send(outbound_port(w->out), &d->msg);
        struct spooler_store *s = told(w, SPOOLER_STORE);
        assert_int_equal(s->envelope.dsn_for, 77);
        assert_int_equal(s->dsn_serial, 5);
        assert_int_equal(s->envelope.sender.n, 0); /* checklist 92 */
        assert_int_equal(s->envelope.n_rcpts, 1);
        assert_true(slice_eq(s->envelope.rcpts[0].address, SLICE_LIT("sender@relay.test")));
        assert_true(s->body->n <= SPOOL_INLINE_MAX);
        assert_int_equal(s->envelope.size, s->body->n);
        assert_true(has(s->body, cases[i].with));
        assert_false(has(s->body, cases[i].without));
        body_unref(s->body); /* the spooler takes it */
        s->body = NULL;
        s->error = i % 2 ? -ESTALE : 0;
        port_send(s->reply, &s->msg);
        told_nothing(w);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(always_one_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
