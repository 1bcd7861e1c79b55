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

static void give_back(struct world *w, struct spooler_store *s)
{
    body_unref(s->body);
    s->body = NULL;
    port_send(s->reply, &s->msg);
    told_nothing(w);
    world_free(w);
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
        {1, 20, 0, false, "text/rfc822-headers", "message/rfc822"}, /* it could not be read */
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

/* What the message asked for decides what comes back, and how. */
static void as_the_message_asked(void **state)
{
    (void)state;
    static const struct {
        enum out_dsn_what what[2];
        struct mail_params params;
        const char *with, *without;
    } cases[] = {
        {{OUT_DSN_FAILED, OUT_DSN_DELAYED}, {0}, "message/rfc822", "relayed"},
        {{OUT_DSN_FAILED, OUT_DSN_RELAYED}, {.ret = MAIL_RET_FULL}, "message/rfc822", "delayed"},
        {{OUT_DSN_FAILED, OUT_DSN_FAILED},
         {.ret = MAIL_RET_HDRS},
         "text/rfc822-headers",
         "rfc822\r\n"},
        /* RFC 3461 section 6.2: FULL is for failures */
        {{OUT_DSN_DELAYED, OUT_DSN_RELAYED},
         {.ret = MAIL_RET_FULL},
         "text/rfc822-headers",
         "failed"},
        /* RFC 8689 section 5.2; checklist 90 */
        {{OUT_DSN_FAILED, OUT_DSN_FAILED},
         {.ret = MAIL_RET_FULL, .requiretls = true},
         "text/rfc822-headers",
         "rfc822\r\n"},
        {{OUT_DSN_FAILED, OUT_DSN_FAILED},
         {.body = MAIL_BODY_BINARYMIME},
         "text/rfc822-headers",
         "rfc822\r\n"},
        {{OUT_DSN_FAILED, OUT_DSN_FAILED},
         {.smtputf8 = true},
         "message/global-delivery-status",
         "message/rfc822"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_new(0, "");
        struct out_dsn *d = dsn(2, 20, 1000, true);
        const struct mail_params *p = &cases[i].params;
        for (size_t k = 0; k < 2; k++)
            d->rcpts[k].what = cases[i].what[k];
        if (p->smtputf8) {
            buf_done(&d->rcpts[1].address);
            d->rcpts[1].address = buf_of(SLICE_LIT("\xc3\xb6@a.test"));
        }
        d->params = *p;
        d->params.priority = 5;
        d->envid = buf_of(SLICE_LIT("E1"));
        d->tags = buf_of(SLICE_LIT("a=1\nb=2"));
        d->route = buf_of(SLICE_LIT("smart"));
        port_send(outbound_port(w->out), &d->msg);
        struct spooler_store *s = told(w, SPOOLER_STORE);
        const struct envelope *e = &s->envelope;
        assert_true(has(s->body, cases[i].with) && has(s->body, "Original-Envelope-Id: E1\r\n"));
        assert_false(has(s->body, cases[i].without));
        assert_true(slice_eq(e->tags, SLICE_LIT("a=1\nb=2")) &&
                    slice_eq(e->route, SLICE_LIT("smart")));
        assert_int_equal(e->params.priority, 5);
        assert_int_equal(e->params.requiretls, p->requiretls);
        /* 95: its sender's address is ASCII, and the way there may not have it. */
        assert_false(e->params.smtputf8);
        assert_true(!p->smtputf8 || (e->eight_bit && e->params.body == MAIL_BODY_8BITMIME));
        /* Notices about notices are not asked for (checklist 92). */
        assert_true(e->params.ret == MAIL_RET_UNSAID && e->params.by == MAIL_BY_NONE);
        assert_true(e->rcpts[0].notify == 0 && e->rcpts[0].orcpt.n == 0 && e->envid.n == 0);
        give_back(w, s);
    }
}

/* 93: what the spooler knows of a recipient stands in his group of fields, and nothing that does
 * not belong to what became of him. */
static void all_that_is_known_is_told(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct out_dsn *d = dsn(2, 20, 1000, true);
    d->queued = (struct wall){INT64_C(1700000000) * WALL_SECOND};
    d->expires = wall_add_s(d->queued, 86400);
    d->rcpts[0].orcpt = buf_of(SLICE_LIT("rfc822;first@old.test"));
    d->rcpts[0].last_attempt = wall_add_s(d->queued, 60);
    d->rcpts[1].what = OUT_DSN_DELAYED;
    d->rcpts[1].last_attempt = wall_add_s(d->queued, 120);
    d->rcpts[1].verdict.enhanced = (struct enhanced){4, 2, 1};
    d->rcpts[1].verdict.code = 450;
    d->rcpts[1].verdict.kind = VERDICT_DEFERRED;
    port_send(outbound_port(w->out), &d->msg);
    struct spooler_store *s = told(w, SPOOLER_STORE);
    static const char words[] = "wwwwwwwwwwwwwwwwwwww";
    char fields[1000];
    snprintf(fields, sizeof fields,
             "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
             "X-Postwain-Queue-ID: %s\r\n"
             "\r\n"
             "Original-Recipient: rfc822;first@old.test\r\n"
             "Final-Recipient: rfc822; r0@a-domain-with-some-length.test\r\n"
             "Action: failed\r\n"
             "Status: 5.1.1\r\n"
             "Remote-MTA: dns; mx.a-domain-with-some-length.test\r\n"
             "Diagnostic-Code: smtp; 550 5.1.1 %s\r\n"
             "Last-Attempt-Date: Tue, 14 Nov 2023 22:14:20 +0000\r\n"
             "\r\n"
             "Final-Recipient: rfc822; r1@a-domain-with-some-length.test\r\n"
             "Action: delayed\r\n"
             "Status: 4.2.1\r\n"
             "Remote-MTA: dns; mx.a-domain-with-some-length.test\r\n"
             "Diagnostic-Code: smtp; 450 4.2.1 %s\r\n"
             "Last-Attempt-Date: Tue, 14 Nov 2023 22:15:20 +0000\r\n"
             "Will-Retry-Until: Wed, 15 Nov 2023 22:13:20 +0000\r\n",
             "000000000002D", words, words);
    assert_true(has(s->body, fields));
    give_back(w, s);
}

/* 92, 93: who is told at which address, of whom, and what its record marks as told. */
static void reverse_paths_that_name_their_recipient(void **state)
{
    (void)state;
    static const struct {
        const char *senders;
        bool double_bounce, one_by_one;
        enum out_dsn_what first;
        size_t n;
        const char *to;
        uint64_t dsn_rcpt;
    } rows[] = {
        {"nobody@*", false, false, OUT_DSN_FAILED, 3, "sender@relay.test", 0},
        {"*", false, false, OUT_DSN_FAILED, 3,
         "sender+r0=a-domain-with-some-length.test@relay.test", 8},
        {"*", false, false, OUT_DSN_DELAYED, 3,
         "sender+r1=a-domain-with-some-length.test@relay.test", 9},
        {"*", false, false, OUT_DSN_DELAYED, 1, "sender@relay.test", 0},
        {"*", false, true, OUT_DSN_FAILED, 1, "sender+r0=a-domain-with-some-length.test@relay.test",
         8},
        /* A reload in between: the sender as he is, but still one alone. */
        {"nobody@*", false, true, OUT_DSN_FAILED, 1, "sender@relay.test", 8},
        /* A postmaster is told as he is. */
        {"*", true, false, OUT_DSN_FAILED, 1, "sender@relay.test", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char conf[100], to[100];
        snprintf(conf, sizeof conf, "} verp { senders = { \"%s\" }", rows[i].senders);
        struct world *w = world_new(0, conf);
        struct out_dsn *d = dsn(rows[i].n, 20, 1000, true);
        for (uint32_t k = 0; k < rows[i].n; k++)
            d->rcpts[k].number = 7 + k;
        d->rcpts[0].what = rows[i].first;
        d->double_bounce = rows[i].double_bounce;
        d->one_by_one = rows[i].one_by_one;
        port_send(outbound_port(w->out), &d->msg);
        struct spooler_store *s = told(w, SPOOLER_STORE);
        snprintf(to, sizeof to, "To: <%s>\r\n", rows[i].to);
        assert_true(has(s->body, to));
        assert_true(slice_eq(s->envelope.rcpts[0].address, slice_str(rows[i].to)));
        assert_int_equal(s->envelope.dsn_rcpt, rows[i].dsn_rcpt);
        assert_int_equal(has(s->body, "Final-Recipient: rfc822; r2@"),
                         rows[i].n == 3 && rows[i].dsn_rcpt == 0);
        give_back(w, s);
    }
}

/* 95: the host of a sender past ASCII may lack SMTPUTF8: his domain has a name that needs none, his
 * mailbox may not. 92: the last word asks for no other one. */
static void where_it_goes(void **state)
{
    (void)state;
    static const struct {
        const char *to, *goes;
        bool double_bounce, utf8;
    } rows[] = {
        {"ann@x.test", "ann@x.test", false, false},
        {"ann@m\xc3\xbcnchen.test", "ann@xn--mnchen-3ya.test", false, false},
        {"\xc3\xa4nn@m\xc3\xbcnchen.test", "\xc3\xa4nn@m\xc3\xbcnchen.test", false, true},
        {"\xc3\xa4nn@x.test", "\xc3\xa4nn@x.test", false, true},
        {"ann@\xe2\x80\x8b.test", "ann@\xe2\x80\x8b.test", false, true}, /* no name at all */
        {"pm@x.test", "pm@x.test", true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world *w = world_new(0, "");
        struct out_dsn *d = dsn(1, 20, 1000, true);
        buf_done(&d->to);
        d->to = buf_of(slice_str(rows[i].to));
        d->params.smtputf8 = true;
        d->double_bounce = rows[i].double_bounce;
        port_send(outbound_port(w->out), &d->msg);
        struct spooler_store *s = told(w, SPOOLER_STORE);
        const struct envelope_rcpt *r = &s->envelope.rcpts[0];
        assert_true(slice_eq(r->address, slice_str(rows[i].goes)));
        assert_int_equal(s->envelope.params.smtputf8, rows[i].utf8);
        assert_int_equal(r->notify, rows[i].double_bounce ? MAIL_NOTIFY_NEVER : 0);
        char field[300];
        snprintf(field, sizeof field, "To: <%s>\r\n", rows[i].goes);
        assert_true(has(s->body, field));
        assert_int_equal(has(s->body, "Subject: Undelivered report"), rows[i].double_bounce);
        give_back(w, s);
    }
}

/* A template whose words have no room keeps no failure from being told. */
static void a_template_without_room(void **state)
{
    (void)state;
    FILE *f = fopen("/tmp/postwain-unit-bounce-words", "w");
    assert_non_null(f);
    fputs("[failure]\n${recipients}\n[recipient]\n", f);
    for (int i = 0; i < 60;
         i++) /* each over the whole answer, and past ASCII: three times as long */
        fputs("\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 ${address} ${answer} ${answer} ${answer}\n", f);
    fclose(f);
    for (unsigned own = 0; own < 2; own++) {
        struct world *w =
            world_new(0, "} delivery { report-template = \"/tmp/postwain-unit-bounce-words\"");
        struct out_dsn *d = dsn(own ? 300 : 2, 1024, 1000, true);
        port_send(outbound_port(w->out), &d->msg);
        struct spooler_store *s = told(w, SPOOLER_STORE);
        assert_int_equal(has(s->body, "quoted-printable"), !own);
        assert_int_equal(has(s->body, "This is the mail system"), own);
        give_back(w, s);
    }
    remove("/tmp/postwain-unit-bounce-words");
}

/* Where there is no room for all, those that failed are named. */
static void the_gravest_are_named(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct out_dsn *d = dsn(2000, 1024, 1000, true);
    for (size_t k = 0; k < 1999; k++)
        d->rcpts[k].what = OUT_DSN_RELAYED;
    port_send(outbound_port(w->out), &d->msg);
    struct spooler_store *s = told(w, SPOOLER_STORE);
    assert_true(has(s->body, "Final-Recipient: rfc822; r1999@"));
    assert_true(has(s->body, "and 1800 more recipients"));
    give_back(w, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(always_one_report),
        cmocka_unit_test(as_the_message_asked),
        cmocka_unit_test(the_gravest_are_named),
        cmocka_unit_test(where_it_goes),
        cmocka_unit_test(a_template_without_room),
        cmocka_unit_test(all_that_is_known_is_told),
        cmocka_unit_test(reverse_paths_that_name_their_recipient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
