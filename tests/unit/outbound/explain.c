/* Explanations as the way out gives them: the same plan, order and sources as a delivery, and
 * nothing changes by it. If this breaks, a person is told what does not happen. */
#include "relay/outbound/explain.h"
#include "relay/loop/lines.h"
#include "tests/unit/outbound/world.h"

/* The asker: lines as they came, until the last. */
struct asker {
    struct world *w;
    struct port port;
    struct buf text;
    bool last, good;
};

static void on_lines(void *ctx, struct msg *m)
{
    struct asker *a = ctx;
    struct lines *l = (struct lines *)(void *)m;
    pthread_mutex_lock(&a->w->lock);
    buf_add(&a->text, buf_slice(&l->text));
    a->last = a->last || l->last;
    a->good = l->good;
    pthread_cond_signal(&a->w->more);
    pthread_mutex_unlock(&a->w->lock);
    assert_null(l->back);
    lines_free(l);
}

static struct asker *asker_new(struct world *w)
{
    struct asker *a = must_alloc(sizeof *a);
    *a = (struct asker){.w = w, .text = BUF_MAX(1 << 20)};
    a->port = (struct port){w->spooler_inbox, on_lines, a};
    return a;
}

static int ask(struct asker *a, const char *address)
{
    struct err e = {0};
    const struct outbound_asked asked = {.recipient = slice_str(address)};
    return outbound_explain(a->w->out, &asked, &a->port, a, &e);
}

static void wait_for_last(struct asker *a)
{
    pthread_mutex_lock(&a->w->lock);
    while (!a->last)
        pthread_cond_wait(&a->w->more, &a->w->lock);
    pthread_mutex_unlock(&a->w->lock);
}

static void expect(struct asker *a, const char *words)
{
    if (!strstr(buf_str(&a->text), words))
        fail_msg("no %s in %s", words, buf_str(&a->text));
}

static void asker_free(struct asker *a)
{
    buf_done(&a->text);
    free(a);
}

/* The spooler is asked for the site, and what it says is the last row. */
static void an_address_literal(void **state)
{
    (void)state;
    struct world *w = world_new(1, "tls = encrypt source = { \"127.0.0.9 nine.test\" }");
    struct asker *a = asker_new(w);
    assert_int_equal(ask(a, "x@[8.8.8.8]"), 0);
    struct spooler_site *q = told(w, SPOOLER_SITE);
    assert_string_equal(buf_str(&q->row.site), "[8.8.8.8]");
    assert_string_equal(buf_str(&q->row.destination), "default");
    q->known = true;
    q->row.ready = 3;
    q->row.next_probe_ms = q->next_job_ms = q->hold_ms = -1;
    q->row.error = buf_of(SLICE_LIT("421 \"no\""));
    port_send(q->reply, &q->msg);
    wait_for_last(a);
    assert_true(a->good);
    expect(
        a,
        "{\"about\":\"way\",\"recipient\":\"x@[8.8.8.8]\",\"recipient_domain\":\"[8.8.8.8]\"}\n");
    expect(a, "\"destination\":\"default\",\"rule\":\"default\",\"tls_policy\":\"may\"");
    expect(
        a,
        "\"turn\":1,\"preference\":0,\"mx_ip\":\"8.8.8.8\",\"mx_port\":25,\"helo\":\"relay.test\"");
    expect(a, "\"ready\":3,");
    expect(a, "\"last_error\":\"421 \\\"no\\\"\",");
    nobody_calls(w, 0);
    world_free(w);
    asker_free(a);
}

static void a_way_that_is_none(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct asker *a = asker_new(w);
    assert_int_equal(ask(a, "x@[127.0.0.1]"), 0);
    wait_for_last(a);
    assert_false(a->good);
    expect(a, "\"error\":\"private_address\"");
    expect(a, "\"outcome\":\"bounced\"");
    told_nothing(w); /* there is no site to ask for */
    world_free(w);
    asker_free(a);
}

static void no_address(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct asker *a = asker_new(w);
    static const char *const wrong[] = {"",           "x",          "@d.test",         "x@",
                                        "postmaster", "a b@d.test", "x@d.test\r\nDATA"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(ask(a, wrong[i]), -EINVAL);
    world_free(w);
    assert_int_equal(a->text.n, 0);
    asker_free(a);
}

/* The end of the daemon between question and answer: nothing is lost, nothing is sent to the dead.
 */
static void the_end_meanwhile(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct asker *a = asker_new(w);
    struct pollfd p = {.fd = w->name_server, .events = POLLIN};
    assert_int_equal(ask(a, "x@example.test"), 0);
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1); /* the MX is asked for */
    assert_int_equal(ask(a, "x@[8.8.8.8]"), 0);    /* and here the spooler does not answer */
    struct msg *m = told(w, SPOOLER_SITE);
    world_free(w);
    spooler_request_free(m);
    assert_false(a->last);
    asker_free(a);
}

/* --- rehearsals */

/* d.test has these two MX, at the test's port. */
#define WITH_MX(first, second)                                                                     \
    "} delivery { allow-private-addresses = true } dns { override = { \"d.test MX 10 one.test\", " \
    "\"d.test MX 20 two.test\", \"one.test A " first "\", \"two.test A " second "\" } "

static void relays_site(struct world *w)
{
    struct spooler_site *q = told(w, SPOOLER_SITE);
    port_send(q->reply, &q->msg);
}

/* A rehearsal whose way is known: it calls now. */
static struct asker *rehearse(struct world *w, bool no_rcpt)
{
    struct asker *a = asker_new(w);
    struct err e = {0};
    const struct outbound_asked asked = {.recipient = SLICE_LIT("r0@d.test"),
                                         .sender = SLICE_LIT("s@relay.test"),
                                         .attempt = 1,
                                         .probe = true,
                                         .no_rcpt = no_rcpt};
    assert_int_equal(outbound_explain(w->out, &asked, &a->port, a, &e), 0);
    relays_site(w);
    return a;
}

/* Two hosts: the first is not there. Nothing is told to the spooler. */
static void up_to_rcpt_and_never_further(void **state)
{
    (void)state;
    struct world *w = world_new(2, WITH_MX("127.0.0.7", "127.0.0.2"));
    struct asker *a = rehearse(w, false);
    int fd = receive_ready(w, 1);
    answer(fd, "MAIL FROM:<s@relay.test>", "250 ok\r\n");
    answer(fd, "RCPT TO:<r0@d.test>", "250 2.1.5 yes\r\n");
    leave(fd);
    wait_for_last(a);
    assert_true(a->good);
    expect(a, "\"step\":\"call\"");
    expect(a, "\"error\":\"connect_refused\"");
    expect(a, "\"step\":\"connected\"");
    expect(a, "\"text\":\"220 hello\"");
    expect(a, "\"text\":\"RCPT TO:<r0@d.test>\"");
    expect(a, "\"text\":\"250 2.1.5 yes\"");
    expect(a, "\"recipient\":\"r0@d.test\",\"outcome\":\"accepted\"");
    assert_null(strstr(buf_str(&a->text), "DATA"));
    told_nothing(w);
    world_free(w);
    asker_free(a);
}

static void only_to_the_greeting(void **state)
{
    (void)state;
    struct world *w = world_new(1, WITH_MX("127.0.0.1", "127.0.0.7"));
    struct asker *a = rehearse(w, true);
    int fd = receive_ready(w, 0);
    leave(fd);
    wait_for_last(a);
    assert_true(a->good);
    expect(a, "\"step\":\"result\"");
    assert_null(strstr(buf_str(&a->text), "MAIL"));
    told_nothing(w);
    world_free(w);
    asker_free(a);
}

static void refused_and_lost(void **state)
{
    (void)state;
    static const struct {
        const char *reply, *told; /* NULL: hangs up */
    } rows[] = {
        {"550 5.1.1 nobody\r\n", "\"outcome\":\"bounced\",\"command\":\"rcpt\",\"smtp_code\":550"},
        {"451 4.7.1 later\r\n", "\"outcome\":\"deferred\",\"command\":\"rcpt\",\"smtp_code\":451"},
        {NULL, "\"error\":\"conn_lost\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world *w = world_new(1, WITH_MX("127.0.0.1", "127.0.0.7"));
        struct asker *a = rehearse(w, false);
        int fd = receive_ready(w, 0);
        answer(fd, "MAIL", "250 ok\r\n");
        hear(fd, "RCPT");
        if (rows[i].reply) {
            say(fd, rows[i].reply);
            leave(fd);
        } else {
            close(fd);
        }
        wait_for_last(a);
        assert_false(a->good);
        expect(a, rows[i].told);
        told_nothing(w);
        world_free(w);
        asker_free(a);
    }
}

/* In the middle of a dialogue the asker has enough: the receiver is hung up on, the answer ends. */
static void stopped(void **state)
{
    (void)state;
    struct world *w = world_new(1, WITH_MX("127.0.0.1", "127.0.0.7"));
    struct asker *a = rehearse(w, false);
    int fd = receive(w, 0);
    outbound_explain_stop(w->out, a + 1); /* somebody else's */
    say(fd, "220 hello\r\n");
    hear(fd, "EHLO relay.test\r\n");
    outbound_explain_stop(w->out, a);
    wait_for_last(a);
    assert_false(a->good);
    hear_end(fd);
    close(fd);
    outbound_explain_stop(w->out, a); /* it is over already */
    world_free(w);
    asker_free(a);
}

/* One who talks without an end is told of up to a bound. */
static void a_flood_of_words(void **state)
{
    (void)state;
    struct world *w = world_new(1, WITH_MX("127.0.0.1", "127.0.0.7"));
    struct asker *a = rehearse(w, false);
    int fd = receive(w, 0);
    char flood[60000];
    for (size_t i = 0; i < sizeof flood; i++)
        flood[i] = i % 2 ? '\n' : '2';
    assert_true(send(fd, flood, sizeof flood, MSG_NOSIGNAL) > 0);
    wait_for_last(a);
    close(fd);
    size_t rows = 0;
    for (const char *s = buf_str(&a->text); (s = strchr(s, '\n')); s++)
        rows++;
    assert_true(rows > 1000 && rows < 1100);
    expect(a, "\"step\":\"more\"");
    world_free(w);
    asker_free(a);
}

/* A reload that names other name servers is no answer of theirs: they are asked. */
static void other_name_servers(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct asker *a = asker_new(w);
    struct pollfd heard = {.fd = w->name_server, .events = POLLIN};
    assert_int_equal(ask(a, "x@example.test"), 0);
    assert_int_equal(poll(&heard, 1, PATIENCE_MS), 1);
    const uint16_t old_port = w->name_server_port;
    heard.fd = udp(&w->name_server_port);
    struct conf *fresh = conf_of(w, "");
    outbound_reconfigure(w->out, fresh);
    assert_int_equal(poll(&heard, 1, PATIENCE_MS), 1);
    pthread_mutex_lock(&w->lock);
    assert_false(a->last);
    assert_null(strstr(buf_str(&a->text), "timeout"));
    pthread_mutex_unlock(&w->lock);
    w->name_server_port = old_port;
    world_free(w);
    close(heard.fd);
    conf_unref(fresh);
    asker_free(a);
}

/* --- more than one loop */

/* What one loop has learnt is told, whichever is asked: the one that delivery asks for the domain.
 */
static void all_loops_are_asked(void **state)
{
    (void)state;
    static const char *const domains[] = {"[8.8.8.8]", "[8.8.4.4]", "[1.1.1.1]", "[9.9.9.9]"};
    struct world *w[2] = {world_new(1, ""), world_new(1, "")};
    struct outbound *all[] = {w[0]->out, w[1]->out};
    for (unsigned i = 0; i < 2; i++) /* nobody is at work yet */
        outbound_meet(w[i]->out, all, 2);
    struct sockaddr_storage rang = {.ss_family = AF_INET};
    ((struct sockaddr_in *)&rang)->sin_port = htons(25);
    inet_pton(AF_INET, "8.8.8.8", &((struct sockaddr_in *)&rang)->sin_addr);
    out_learn(w[1]->out, &rang, OUT_NO_ANSWER, mono_add(mono_now(), 600000));
    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++) {
        char address[40];
        struct asker *a = asker_new(w[0]);
        snprintf(address, sizeof address, "x@%s", domains[i]);
        assert_int_equal(ask(a, address), 0);
        struct spooler_site *q = told(w[spooler_loop_of(slice_str(domains[i]), 2)], SPOOLER_SITE);
        port_send(q->reply, &q->msg);
        wait_for_last(a);
        const bool one =
            strstr(buf_str(&a->text), "\"no_answer_lately\":true,\"no_answer_threads\":1,"
                                      "\"threads\":2}") != NULL;
        assert_int_equal(one, i == 0);
        assert_int_equal(strstr(buf_str(&a->text), "no_answer_lately") != NULL, i == 0);
        asker_free(a);
    }
    /* Who has left is found, wherever his question is. */
    struct asker *a = asker_new(w[0]);
    assert_int_equal(ask(a, "x@[8.8.8.8]"), 0);
    struct spooler_site *q = told(w[spooler_loop_of(SLICE_LIT("[8.8.8.8]"), 2)], SPOOLER_SITE);
    outbound_explain_stop(w[0]->out, a);
    wait_for_last(a);
    port_send(q->reply, &q->msg);
    world_free(w[0]);
    world_free(w[1]);
    asker_free(a);
}

/* --- rows */

static const char *host_row(const struct explain_host *h, struct buf *out)
{
    buf_reset(out);
    explain_host(out, h);
    return buf_str(out);
}

static void rows_of_hosts(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(4096);
    struct sockaddr_storage six = {.ss_family = AF_INET6};
    ((struct sockaddr_in6 *)&six)->sin6_port = htons(587);
    ((struct sockaddr_in6 *)&six)->sin6_addr.s6_addr[15] = 1;
    struct explain_host h = {.turn = 2,
                             .name = "h.test",
                             .preference = 5,
                             .address = &six,
                             .source = {.helo = ""},
                             .helo = "relay.test",
                             .rang = true,
                             .why = ""};
    assert_string_equal(host_row(&h, &out),
                        "{\"about\":\"host\",\"turn\":2,\"mx_host\":\"h.test\",\"preference\":5,"
                        "\"mx_ip\":\"::1\",\"mx_port\":587,\"helo\":\"relay.test\","
                        "\"no_answer_lately\":true}\n");
    h = (struct explain_host){.turn = OUT_TRIES_MAX + 1,
                              .name = "",
                              .address = &six,
                              .source = {.helo = "own.test"},
                              .helo = "relay.test",
                              .state = OUT_HOST_BARRED,
                              .again_ms = 1001,
                              .why = "535 no"};
    assert_string_equal(host_row(&h, &out),
                        "{\"about\":\"host\",\"preference\":0,\"mx_ip\":\"::1\",\"mx_port\":587,"
                        "\"helo\":\"own.test\","
                        "\"left_out\":\"an attempt calls five addresses at most\","
                        "\"state\":\"login_refused\",\"again_seconds\":2,\"why\":\"535 no\"}\n");
    buf_done(&out);
}

static void rows_of_sites(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(4096);
    struct spooler_site s = {
        .row = {.destination = buf_of(SLICE_LIT("d")), .site = buf_of(SLICE_LIT("s"))}};
    explain_site(&out, &s);
    assert_string_equal(buf_str(&out), "{\"about\":\"site\",\"known\":false,\"destination\":\"d\","
                                       "\"site\":\"s\",\"suspended\":false}\n");
    s.known = s.row.dead = s.stands = s.row.suspended = true;
    s.row.rate = 5;
    s.row.rate_ms = 60000;
    s.next_job_ms = 1;
    s.row.next_probe_ms = 15000;
    s.hold_ms = -1;
    s.standing = (struct sched_standing){.rank = 2, .ahead = 9, .users = 3};
    buf_reset(&out);
    explain_site(&out, &s);
    assert_non_null(strstr(buf_str(&out), "\"rate\":5,\"rate_seconds\":60,\"dead\":true,"
                                          "\"next_probe_seconds\":15,"
                                          "\"next_job_seconds\":1,\"failures\":0,"
                                          "\"rank\":\"low\",\"ahead\":9,\"users\":3,"
                                          "\"suspended\":true}"));
    assert_null(strstr(buf_str(&out), "window_holds_seconds"));
    buf_done(&out);
    queue_site_row_done(&s.row);
}

/* What a rehearsal asks of a relay's state takes nobody's turn. */
static void looking_takes_no_turn(void **state)
{
    (void)state;
    struct out_hosts *h = out_hosts_new();
    struct verdict v = verdict_of_fault(FAULT_CONNECT_REFUSED, PHASE_CONNECT, SLICE_NONE);
    const struct mono now = {1000}, later = {1000000};
    const struct out_host at = {1, "d", "h:25"};
    int64_t again_ms = -1;
    char *why = NULL;
    assert_int_equal(out_hosts_peek(h, &at, now, &again_ms, &why), OUT_HOST_FINE);
    assert_true(again_ms == -1 && !why);
    out_hosts_failed(h, &at, &v, now);
    assert_int_equal(out_hosts_peek(h, &at, now, &again_ms, &why), OUT_HOST_AVOIDED);
    assert_true(again_ms == 5000 && strstr(why, "refused"));
    free(why);
    assert_int_equal(out_hosts_peek(h, &at, later, &again_ms, &why), OUT_HOST_AVOIDED);
    assert_int_equal(again_ms, 0);
    free(why);
    assert_int_equal(out_hosts_look(h, &at, later), OUT_HOST_FINE); /* the turn is there */
    assert_int_equal(out_hosts_look(h, &at, later), OUT_HOST_AVOIDED);
    verdict_done(&v);
    out_hosts_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_loops_are_asked),
        cmocka_unit_test(other_name_servers),
        cmocka_unit_test(an_address_literal),
        cmocka_unit_test(a_way_that_is_none),
        cmocka_unit_test(no_address),
        cmocka_unit_test(the_end_meanwhile),
        cmocka_unit_test(rows_of_hosts),
        cmocka_unit_test(rows_of_sites),
        cmocka_unit_test(looking_takes_no_turn),
        cmocka_unit_test(up_to_rcpt_and_never_further),
        cmocka_unit_test(only_to_the_greeting),
        cmocka_unit_test(refused_and_lost),
        cmocka_unit_test(stopped),
        cmocka_unit_test(a_flood_of_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
