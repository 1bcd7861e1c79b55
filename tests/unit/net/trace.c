/* Transcripts of a loop's connections. What breaks for a user: he looks on and sees another's
 * dialogue, half of it or some of it twice, or mail waits for him. */
#include "relay/net/trace.h"
#include "relay/base/defer.h"
#include "tests/unit/net/pair.h"

static struct inbox *inbox;
static struct net_traces *traces;
static struct port reader;
static struct lines *held;
static struct buf shown;
static uint64_t lost;
static bool hold, ended;
static struct deadline start;
static const char *script; /* what the client says, all at once */
static unsigned flood;     /* how often */

static bool leaving;
static void left(void);

/* Rows as they come; the first ones are kept where the test holds them. */
static void on_lines(void *ctx, struct msg *m)
{
    struct lines *l = (struct lines *)(void *)m;
    (void)ctx;
    buf_add(&shown, buf_slice(&l->text));
    lost += l->lost;
    if (l->last) {
        assert_null(l->back);
        lines_free(l);
        ended = true;
        if (leaving)
            left();
        else
            loop_stop(loop);
    } else if (hold && !held) {
        held = l;
    } else {
        port_send(l->back, &l->msg);
    }
}

static void on_client(struct peer *p, enum event e)
{
    if (e == EV_CONNECTED)
        for (unsigned i = 0; i < flood; i++)
            net_conn_send(p->c, slice_str(script));
    if (e == EV_EOF)
        net_conn_close(p->c);
    if (e != EV_CLOSED)
        return;
    if (held)
        port_send(held->back, &held->msg);
    net_traces_end(traces, &reader);
}

/* The session is as slow as may be: a few octets at a time, each offer left and asked for again. */
static size_t take_little(struct peer *p, struct slice in)
{
    size_t n = in.n < 7 ? in.n : 7;
    if (p->got.n + n >= strlen(script) * flood) {
        net_conn_send(p->c, SLICE_LIT("250 2.0.0 Ok: queued as 0123456789ABC\r\n"));
        net_conn_close(p->c);
    }
    net_conn_resume(p->c);
    return n;
}

static void accepted(struct peer *p)
{
    p->take = take_little;
    net_conn_label(p->c, &(struct net_label){.name = "session-7", .user = SLICE_LIT("shop")});
}

static void call(void *ctx, struct mono now)
{
    (void)ctx, (void)now;
    client_init(&client, loop, &server);
    client.on = on_client;
    net_conn_label(client.c, &(struct net_label){.name = "out-1",
                                                 .site = SLICE_LIT("mx.test"),
                                                 .destination = SLICE_LIT("d"),
                                                 .id = SLICE_LIT("0123456789ABD"),
                                                 .user = SLICE_LIT("tim")});
    deadline_set(loop, &start, MONO_NEVER);
}

static void open_house(const char *says, unsigned times)
{
    script = says;
    flood = times;
    buf_reset(&shown);
    lost = 0;
    ended = false;
    held = NULL;
    setup(NULL);
    inbox = inbox_new(loop, NULL, NULL);
    traces = net_traces_new(loop, inbox);
    reader = (struct port){inbox, on_lines, NULL};
}

static void look_to_the_end(void)
{
    run_for(loop, 20000);
    assert_true(ended);
    net_traces_free(traces);
    inbox_free(inbox, NULL);
    peer_done(&client);
    teardown(NULL);
}

static const char *run(const struct net_trace_filter *f, const char *says, unsigned times)
{
    open_house(says, times);
    server.accepted = accepted;
    deadline_init(loop, &start, call, NULL);
    deadline_set(loop, &start, mono_add(mono_now(), 20));
    net_traces_begin(traces, f, &reader, &reader);
    look_to_the_end();
    return buf_str(&shown);
}

static size_t count(const char *text, const char *words)
{
    size_t n = 0;
    for (; (text = strstr(text, words)); text++)
        n++;
    return n;
}

#define SAYS "MAIL FROM:<ann@a.test>\r\nRCPT TO:<bob@b.test>\r\n"

static void each_line_once(void **state)
{
    (void)state;
    const char *all = run(&(struct net_trace_filter){.from = SLICE_NONE}, SAYS, 1);
    /* Both ends are on this loop. */
    assert_int_equal(count(all, "\"text\":\"RCPT TO:<bob@b.test>\""), 2);
    assert_true(count(all, "\"direction\":\"in\",\"session_id\":\"session-7\"") >= 3);
    assert_int_equal(count(all, "\"who\":\"server\""), 2);
    assert_true(count(all, "\"text\":\"closed\"") > 0);
    assert_int_equal(lost, 0);
}

static void what_matches_with_its_beginning(void **state)
{
    (void)state;
    static const struct {
        struct net_trace_filter f;
        size_t in, out;
    } rows[] = {
        {.f = {.to = {(const uint8_t *)"*@B.test", 8}}, 5, 6},
        {.f = {.to = {(const uint8_t *)"*@c.test", 8}}, 0, 0},
        {.f = {.from = {(const uint8_t *)"ann@*", 5}}, 5, 6},
        {.f = {.client = {(const uint8_t *)"127.0.0.0/8", 11}}, 5, 0},
        {.f = {.client = {(const uint8_t *)"192.0.2.1", 9}}, 0, 0},
        {.f = {.site = {(const uint8_t *)"mx.test", 7}}, 0, 6},
        {.f = {.site = {(const uint8_t *)"d", 1}}, 0, 6},
        {.f = {.id = {(const uint8_t *)"0123456789ABD", 13}}, 0, 6},
        {.f = {.user = {(const uint8_t *)"shop", 4}}, 5, 0},
        {.f = {.user = {(const uint8_t *)"tim", 3}}, 0, 6},
        {.f = {.user = {(const uint8_t *)"eve", 3}}, 0, 0},
        /* known by our own 250, at the end of it all */
        {.f = {.id = {(const uint8_t *)"0123456789ABC", 13}}, 5, 0},
        {.f = {.id = {(const uint8_t *)"0123456789ABC", 13}, .from = {(const uint8_t *)"x", 1}},
         0,
         0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *all = run(&rows[i].f, SAYS, 1);
        /* The last note of all, "closed", may come after the end of looking on. */
        size_t in = count(all, "\"direction\":\"in\""), out = count(all, "\"direction\":\"out\"");
        assert_true(in == rows[i].in || in + 1 == rows[i].in);
        assert_true(out == rows[i].out || out + 1 == rows[i].out);
    }
}

/* A second transaction that is another's is not shown. */
static void until_the_next_mail(void **state)
{
    (void)state;
    const char *all =
        run(&(struct net_trace_filter){.to = SLICE_LIT("bob@b.test")},
            SAYS "RSET\r\nMAIL FROM:<eve@e.test>\r\nRCPT TO:<ann@a.test>\r\n" SAYS, 1);
    assert_int_equal(count(all, "RSET"), 2);
    assert_int_equal(count(all, "eve@e.test"), 0);
    assert_int_equal(count(all, "bob@b.test"), 4);
    assert_int_equal(count(all, "\"text\":\"connected\""), 2); /* their beginnings, once */
}

/* Who does not read costs lines, which are counted, and nothing else. */
static void who_does_not_read(void **state)
{
    (void)state;
    hold = true;
    const char *all = run(&(struct net_trace_filter){.from = SLICE_NONE}, "NOOP x\r\n", 2000);
    hold = false;
    assert_true(lost > 1000);
    size_t seen = lost + count(all, "\n");
    assert_true(seen >= 2 * 2000 + 5 && seen <= 2 * 2000 + 7);
    assert_true(shown.n < (size_t)3 * NET_TRACE_BYTES);
}

/* --- a dialogue that has begun
 * ------------------------------------------------------------------------------------------------------------
 */

#define FIRST "EHLO a\r\nMAIL FROM:<old@a.test>\r\n"
#define SECOND SAYS "QUIT\r\n"

static bool easy;

static bool at_ease(struct peer *p, size_t *ret_awaited)
{
    *ret_awaited = 0;
    net_conn_label(p->c, &(struct net_label){.name = p == &client ? "out-1" : "session-7"});
    return easy && p->got.n >= strlen(FIRST);
}

static void say_second(void *ctx, struct mono now)
{
    (void)ctx, (void)now;
    net_conn_send(client.c, SLICE_LIT(SECOND));
    deadline_set(loop, &start, MONO_NEVER);
}

/* The first part comes back whole: then somebody begins to look, and the second follows. */
static size_t echoed(struct peer *p, struct slice in)
{
    if (p->got.n + in.n == strlen(FIRST)) {
        net_traces_begin(traces, &(struct net_trace_filter){.from = SLICE_NONE}, &reader, &reader);
        deadline_set(loop, &start, mono_add(mono_now(), 20));
    }
    return in.n;
}

static size_t echo_first(struct peer *p, struct slice in)
{
    if (p->got.n < strlen(FIRST))
        net_conn_send(p->c, in);
    else if (p->got.n + in.n == strlen(FIRST SECOND))
        net_conn_close(p->c);
    return in.n;
}

static void echoing(struct peer *p)
{
    p->take = echo_first;
    p->ease = at_ease;
}

static void run_from_the_middle(void)
{
    open_house(FIRST, 1);
    server.accepted = echoing;
    deadline_init(loop, &start, say_second, NULL);
    client_init(&client, loop, &server);
    client.on = on_client;
    client.take = echoed;
    client.ease = at_ease;
    look_to_the_end();
}

/* What was said before is not told, and what comes is, by its name; of a dialogue that never comes
 * to a moment of ease only that it ended. */
static void in_the_middle(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        easy = i == 0;
        run_from_the_middle();
        const char *all = buf_str(&shown);
        assert_int_equal(count(all, "old@a.test"), 0);
        assert_int_equal(count(all, "EHLO"), 0);
        assert_int_equal(count(all, "\"text\":\"MAIL FROM:<ann@a.test>\""), easy ? 2 : 0);
        assert_int_equal(count(all, "\"text\":\"QUIT\""), easy ? 2 : 0);
        assert_int_equal(count(all, "\"who\":\"client\""), easy ? 6 : 0);
        assert_int_equal(count(all, "\"direction\":\"in\",\"session_id\":\"session-7\""),
                         count(all, "\"direction\":\"in\""));
        assert_int_equal(lost, 0);
    }
}

/* --- nobody looks any more
 * ------------------------------------------------------------------------------------------------------------
 */

static void left(void)
{
    assert_false(net_conn_is_traced(client.c));
    assert_false(net_conn_is_traced(served[0].c));
    net_conn_close(client.c);
}

static void on_leaving_client(struct peer *p, enum event e)
{
    (void)p;
    if (e == EV_CONNECTED)
        net_traces_begin(traces, &(struct net_trace_filter){.from = SLICE_NONE}, &reader, &reader);
    if (e == EV_CLOSED)
        loop_stop(loop);
}

/* Both ends are looked at in the end, once the server's is there. */
static void end_when_both_are_seen(void *ctx, struct mono now)
{
    (void)ctx;
    if (server.next == 1 && net_conn_is_traced(client.c) && net_conn_is_traced(served[0].c)) {
        deadline_set(loop, &start, MONO_NEVER);
        net_traces_end(traces, &reader);
    } else {
        deadline_set(loop, &start, mono_add(now, 5));
    }
}

static void accept_closing(struct peer *p)
{
    p->on = close_on_eof;
}

/* A connection that was looked at costs what it did before. */
static void it_costs_nothing_again(void **state)
{
    (void)state;
    leaving = true;
    ended = false;
    held = NULL;
    setup(NULL);
    to_close = 2; /* the loop is stopped by the client's */
    inbox = inbox_new(loop, NULL, NULL);
    traces = net_traces_new(loop, inbox);
    reader = (struct port){inbox, on_lines, NULL};
    server.accepted = accept_closing;
    deadline_init(loop, &start, end_when_both_are_seen, NULL);
    deadline_set(loop, &start, mono_add(mono_now(), 5));
    client_init(&client, loop, &server);
    client.on = on_leaving_client;
    run_for(loop, 20000);
    assert_true(ended);
    leaving = false;
    net_traces_free(traces);
    inbox_free(inbox, NULL);
    peer_done(&client);
    teardown(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_once),      cmocka_unit_test(what_matches_with_its_beginning),
        cmocka_unit_test(until_the_next_mail), cmocka_unit_test(who_does_not_read),
        cmocka_unit_test(in_the_middle),       cmocka_unit_test(it_costs_nothing_again),
    };
    shown = BUF_MAX(16 << 20);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&shown);
    return rc;
}
