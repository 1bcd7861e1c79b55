/* A connection in bad company: peers that close, reset, do not read, or talk
 * too much. If this breaks, sessions hang, last words are lost, or a session is closed twice. */
#include "tests/unit/net/pair.h"

/* --- closing --------------------------------------------------------------------------------- */

enum { LONG = 3000000 };

static struct buf long_text;

static size_t answer_and_close(struct peer *p, struct slice in)
{
    net_conn_send(p->c, buf_slice(&long_text));
    net_conn_close(p->c);
    net_conn_close(p->c);
    net_conn_send(p->c, SLICE_LIT("ignored"));
    net_conn_resume(p->c);
    return in.n / 2; /* the rest is not offered again */
}

static void *read_slowly(void *arg)
{
    struct peer *p = arg;
    int fd = *(int *)p->data;
    uint8_t piece[10000];
    ssize_t n;
    usleep(50000);
    while ((n = recv(fd, piece, sizeof piece, 0)) > 0)
        buf_add(&p->got, slice_of(piece, (size_t)n));
    p->eof_err = n == 0 ? 0 : -errno;
    return NULL;
}

/* All of the last words arrive, though the peer has sent more than was read: no reset overtakes
 * them. */
static void close_sends_all(void **state)
{
    (void)state;
    buf_init(&long_text, LONG);
    fill(&long_text, LONG, 3);
    served[0].take = answer_and_close;
    served[0].on = closed_one;
    int fd = raw_connect(&server);
    uint8_t much[100000] = {0};
    assert_int_equal(send(fd, much, sizeof much, 0), sizeof much);
    struct peer reader = {.got = BUF_MAX(LONG + 10), .data = &fd};
    pthread_t thread;
    pthread_create(&thread, NULL, read_slowly, &reader);
    run_for(loop, 20000);
    pthread_join(thread, NULL);
    assert_int_equal(reader.eof_err, 0);
    assert_true(slice_eq(buf_slice(&reader.got), buf_slice(&long_text)));
    assert_int_equal(served[0].count[EV_EOF] + served[0].count[EV_SENT], 0);
    buf_done(&reader.got);
    buf_done(&long_text);
    close(fd);
}

static size_t take_none(struct peer *p, struct slice in)
{
    (void)p, (void)in;
    return 0;
}

static void bye_at_deadline(struct peer *p, enum event e)
{
    if (e == EV_DEADLINE)
        answer_and_close(p, SLICE_NONE);
    closed_one(p, e);
}

static void set_soon(struct peer *p)
{
    net_conn_deadline(p->c, mono_add(loop_now(p->loop), 50));
}

static void *write_then_read(void *arg)
{
    struct peer *p = arg;
    uint8_t zeros[10000] = {0};
    for (size_t n = 0; n < p->largest_offer; n += sizeof zeros)
        MUST(send(*(int *)p->data, zeros, sizeof zeros, MSG_NOSIGNAL) > 0);
    return read_slowly(p);
}

/* The handler was not reading when it closed. A peer that wrote 150 kB gets "421" and a clean end,
 * not a reset; one that writes much before it looks at its answer is not stuck, either. */
static void close_while_paused(void **state)
{
    static const size_t sizes[][2] = {{150000, 10},
                                      {LONG * 5, LONG * 5}}; /* written to us, answered */
    for (unsigned i = 0; i < 2; i++) {
        buf_init(&long_text, LONG * 5);
        fill(&long_text, sizes[i][1], 8);
        served[0].take = take_none;
        served[0].on = bye_at_deadline;
        server.accepted = set_soon;
        int fd = raw_connect(&server);
        struct peer reader = {
            .got = BUF_MAX(LONG * 5 + 10), .data = &fd, .largest_offer = sizes[i][0]};
        pthread_t thread;
        pthread_create(&thread, NULL, write_then_read, &reader);
        run_for(loop, 20000);
        pthread_join(thread, NULL);
        assert_int_equal(reader.eof_err, 0);
        assert_true(slice_eq(buf_slice(&reader.got), buf_slice(&long_text)));
        buf_done(&reader.got);
        buf_done(&long_text);
        close(fd);
        teardown(state);
        setup(state);
    }
}

static void on_nearly_over(void *ctx, struct mono now)
{
    (void)now;
    *(bool *)ctx = served[0].count[EV_CLOSED] == 0;
}

static bool open_until_nearly_over;

static size_t close_and_count(struct peer *p, struct slice in)
{
    static struct deadline nearly_over;
    deadline_init(loop, &nearly_over, on_nearly_over, &open_until_nearly_over);
    deadline_set(loop, &nearly_over, mono_add(loop_now(loop), 4900));
    over_within(loop, 5100);
    return answer_and_close(p, in);
}

/* A peer that never reads keeps us for five seconds, not for ever. */
static void close_gives_up(void **state)
{
    (void)state;
    buf_init(&long_text, LONG * 5);
    fill(&long_text, LONG * 5, 3);
    open_until_nearly_over = false;
    served[0].take = close_and_count;
    served[0].on = closed_one;
    int fd = raw_connect(&server);
    assert_int_equal(send(fd, "xy", 2, 0), 2);
    run_for(loop, 20000);
    assert_true(open_until_nearly_over);
    buf_done(&long_text);
    close(fd);
}

static size_t abort_inside(struct peer *p, struct slice in)
{
    net_conn_send(p->c, SLICE_LIT("never sent"));
    net_conn_abort(p->c);
    net_conn_abort(p->c);
    net_conn_close(p->c);
    assert_int_equal(p->count[EV_CLOSED], 0); /* not from within */
    return in.n;
}

static void abort_sends_nothing(void **state)
{
    (void)state;
    served[0].take = abort_inside;
    served[0].on = closed_one;
    int fd = raw_connect(&server);
    char space[100];
    assert_int_equal(send(fd, "x", 1, 0), 1);
    run_for(loop, 10000);
    assert_true(recv(fd, space, sizeof space, 0) <= 0);
    close(fd);
}

/* The client closes or aborts within the very call that tells it something. */
static enum event closes_in;
static bool by_abort;

static void close_in_event(struct peer *p, enum event e)
{
    if (e == EV_CONNECTED)
        net_conn_send(p->c, SLICE_LIT("hello"));
    if (e == (closes_in == EV_DEADLINE ? EV_CONNECTED : closes_in)) /* who closes hears of none */
        net_conn_deadline(p->c, mono_add(loop_now(loop), 20));
    if (e == closes_in && by_abort)
        net_conn_abort(p->c);
    else if (e == closes_in)
        net_conn_close(p->c);
    closed_one(p, e);
}

static void close_on_hello(struct peer *p, enum event e)
{
    if (e == EV_DEADLINE)
        net_conn_close(p->c);
    close_on_eof(p, e);
}

static void set_soon_deadline(struct peer *p)
{
    if (closes_in == EV_EOF)
        net_conn_deadline(p->c, mono_add(loop_now(p->loop), 20));
}

static void close_within(void **state)
{
    static const enum event events[] = {EV_CONNECTED, EV_SENT, EV_DEADLINE, EV_EOF};
    for (unsigned i = 0; i < 8; i++) {
        closes_in = events[i / 2];
        by_abort = i % 2;
        client_init(&client, loop, &server);
        client.on = close_in_event;
        served[0].on = close_on_hello;
        server.accepted = set_soon_deadline;
        to_close = 2;
        run_for(loop, 10000);
        assert_int_equal(client.count[closes_in], 1);
        assert_int_equal(client.count[EV_DEADLINE], closes_in == EV_DEADLINE);
        peer_done(&client);
        teardown(state);
        setup(state);
    }
}

/* --- the peer's end -------------------------------------------------------------------------- */

static void answer_after_eof(struct peer *p, enum event e)
{
    if (e == EV_EOF)
        net_conn_send(p->c, buf_slice(&long_text));
    if (e == EV_SENT)
        net_conn_close(p->c);
    closed_one(p, e);
}

/* "QUIT" and a half-closed connection, as simple clients do: they still get their answer. */
static void half_close(void **state)
{
    (void)state;
    buf_init(&long_text, LONG);
    fill(&long_text, LONG, 4);
    served[0].on = answer_after_eof;
    int fd = raw_connect(&server);
    assert_int_equal(send(fd, "QUIT\r\n", 6, 0), 6);
    shutdown(fd, SHUT_WR);
    struct peer reader = {.got = BUF_MAX(LONG + 10), .data = &fd};
    pthread_t thread;
    pthread_create(&thread, NULL, read_slowly, &reader);
    run_for(loop, 20000);
    pthread_join(thread, NULL);
    assert_true(slice_eq(buf_slice(&served[0].got), SLICE_LIT("QUIT\r\n")));
    assert_int_equal(served[0].eof_err, 0);
    assert_int_equal(served[0].count[EV_EOF], 1);
    assert_true(slice_eq(buf_slice(&reader.got), buf_slice(&long_text)));
    buf_done(&reader.got);
    buf_done(&long_text);
    close(fd);
}

static void reset(int fd)
{
    struct linger none = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
}

static size_t take_then_reset(struct peer *p, struct slice in)
{
    reset(*(int *)p->data);
    net_conn_send(p->c, SLICE_LIT("to nobody"));
    return in.n;
}

static void peer_resets(void **state)
{
    (void)state;
    int fd = raw_connect(&server);
    served[0].take = take_then_reset;
    served[0].on = close_on_eof;
    served[0].data = &fd;
    assert_int_equal(send(fd, "x", 1, 0), 1);
    run_for(loop, 10000);
    assert_int_equal(served[0].count[EV_EOF], 1);
    assert_true(served[0].eof_err == -ECONNRESET || served[0].eof_err == -EPIPE);
}

/* While a question is open (nothing is taken) a write that fails is heard at once. */
static size_t reset_and_keep(struct peer *p, struct slice in)
{
    (void)in;
    reset(*(int *)p->data);
    net_conn_deadline(p->c, mono_add(loop_now(loop), 20));
    return 0;
}

static void send_at_deadline(struct peer *p, enum event e)
{
    if (e == EV_DEADLINE)
        net_conn_send(p->c, SLICE_LIT("to nobody"));
    close_on_eof(p, e);
}

static void reset_while_paused(void **state)
{
    (void)state;
    int fd = raw_connect(&server);
    served[0].take = reset_and_keep;
    served[0].on = send_at_deadline;
    served[0].data = &fd;
    assert_int_equal(send(fd, "x", 1, 0), 1);
    run_for(loop, 10000);
    assert_int_equal(served[0].count[EV_EOF], 1);
    assert_true(served[0].eof_err < 0);
}

/* Checklist 60: a receiver that refuses early writes why, and closes while we send. Its words come
 * first. */
static void refused_early(struct peer *p, enum event e)
{
    int fd = *(int *)p->data;
    if (e == EV_CONNECTED) {
        net_conn_send(p->c, SLICE_LIT("DATA\r\n"));
        net_conn_deadline(p->c, mono_add(loop_now(loop), 30));
    }
    if (e == EV_DEADLINE) {
        MUST(send(fd, "554 no\r\n", 8, 0) == 8);
        close(fd);                                 /* with bytes unread: a reset follows */
        net_conn_send(p->c, SLICE_LIT("content")); /* fails before the answer is read */
    }
    close_on_eof(p, e);
}

static void early_refusal(void **state)
{
    (void)state;
    struct sockaddr_storage addr = {0};
    int listener = listening_fd(&addr);
    fcntl(listener, F_SETFL, 0);
    peer_init(&client, loop);
    client.c = net_connect(loop, (struct sockaddr *)&addr, NULL, 5000, &peer_handler, &client);
    client.on = refused_early;
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    client.data = &fd;
    run_for(loop, 10000);
    assert_true(slice_eq(buf_slice(&client.got), SLICE_LIT("554 no\r\n")));
    assert_int_equal(client.count[EV_EOF], 1);
    assert_true(client.eof_err < 0);
    close(listener);
    peer_done(&client);
}

/* --- back pressure --------------------------------------------------------------------------- */

static void then_take_all(struct peer *p, enum event e)
{
    if (e == EV_DEADLINE) {
        p->take = NULL;
        net_conn_resume(p->c);
    }
    close_on_eof(p, e);
}

static void *write_much(void *arg)
{
    int fd = *(int *)arg;
    for (struct slice s = buf_slice(&long_text); s.n;) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        MUST(n > 0);
        s = slice_skip(s, (size_t)n);
    }
    close(fd);
    return NULL;
}

static void set_late_deadline(struct peer *p)
{
    net_conn_deadline(p->c, mono_add(loop_now(p->loop), 300));
}

/* Who takes nothing is offered no more than the bound, and loses nothing. */
static void input_waits(void **state)
{
    (void)state;
    buf_init(&long_text, LONG * 5);
    fill(&long_text, LONG * 5, 6);
    served[0].take = take_none;
    served[0].on = then_take_all;
    server.accepted = set_late_deadline;
    int fd = raw_connect(&server);
    pthread_t thread;
    pthread_create(&thread, NULL, write_much, &fd);
    run_for(loop, 20000);
    pthread_join(thread, NULL);
    assert_int_equal(served[0].count[EV_DEADLINE], 1);
    assert_true(served[0].largest_offer <= NET_INPUT_MAX);
    assert_true(slice_eq(buf_slice(&served[0].got), buf_slice(&long_text)));
    buf_done(&long_text);
}

enum { SEND_BOUND = 256 * 1024, PIECE = 64 * 1024 };
static size_t most_unsent, sent_total;

static void produce(struct peer *p)
{
    while (net_conn_unsent(p->c) < SEND_BOUND && sent_total < LONG * 5) {
        struct slice s = slice_head(slice_skip(buf_slice(&long_text), sent_total), PIECE);
        net_conn_send(p->c, s);
        sent_total += s.n;
        if (net_conn_unsent(p->c) > most_unsent)
            most_unsent = net_conn_unsent(p->c);
    }
    if (sent_total == LONG * 5)
        net_conn_close(p->c);
}

static void produce_on(struct peer *p, enum event e)
{
    if (e == EV_SENT)
        produce(p);
    closed_one(p, e);
}

/* Who sends by on_sent needs no more memory than its own bound, however slow the reader. */
static void output_waits(void **state)
{
    (void)state;
    buf_init(&long_text, LONG * 5);
    fill(&long_text, LONG * 5, 7);
    most_unsent = sent_total = 0;
    served[0].on = produce_on;
    server.accepted = produce;
    int fd = raw_connect(&server);
    struct peer reader = {.got = BUF_MAX(LONG * 5 + 10), .data = &fd};
    pthread_t thread;
    pthread_create(&thread, NULL, read_slowly, &reader);
    run_for(loop, 20000);
    pthread_join(thread, NULL);
    assert_true(slice_eq(buf_slice(&reader.got), buf_slice(&long_text)));
    assert_true(most_unsent <= SEND_BOUND + PIECE);
    buf_done(&reader.got);
    buf_done(&long_text);
    close(fd);
}

/* --- deadlines ---------------------------------------------------- */

static void deadline_on(struct peer *p, enum event e)
{
    if (e == EV_DEADLINE && p->count[e] == 1)
        net_conn_deadline(p->c, mono_add(loop_now(loop), 30));
    else if (e == EV_DEADLINE)
        net_conn_close(p->c);
    closed_one(p, e);
}

static void set_deadlines(struct peer *p)
{
    net_conn_deadline(p->c, mono_add(loop_now(loop), 5));
    net_conn_deadline(p->c, mono_add(loop_now(loop), 10000));
    net_conn_deadline(p->c, MONO_NEVER);
    net_conn_deadline(p->c, mono_add(loop_now(loop), 50));
}

static void deadlines(void **state)
{
    (void)state;
    server.accepted = set_deadlines;
    served[0].on = deadline_on;
    int fd = raw_connect(&server);
    struct mono began = mono_now();
    shutdown(fd, SHUT_WR); /* so that closing need not wait for us */
    run_for(loop, 10000);
    assert_true(mono_now().ms - began.ms >= 75);
    assert_int_equal(served[0].count[EV_DEADLINE], 2);
    close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(close_sends_all), T(close_while_paused), T(close_gives_up), T(abort_sends_nothing),
        T(close_within),    T(half_close),         T(peer_resets),    T(reset_while_paused),
        T(early_refusal),   T(input_waits),        T(output_waits),   T(deadlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
