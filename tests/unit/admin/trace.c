/* trace over a real socket, with net loops that the test plays. If this breaks, an operator who
 * looks on and does not read takes the relay's memory, one who has left keeps the place of another,
 * or nobody is told that lines are missing. */
#include "relay/loop/lines.h"
#include "tests/unit/admin/world.h"

enum { SOURCES = 2, LOOKERS = 8, PIECE = 60 * 1024 };

/* One loop's part of one tracer, as relay/net/trace has it. */
struct source {
    const struct port *reply;
    void *cookie;
    struct lines *here; /* NULL: with the reader, or there is none any more */
    bool ending;
};

static struct {
    pthread_mutex_t lock;
    struct port port; /* where lines come back to */
    struct source sources[LOOKERS * SOURCES];
    unsigned n, begun, ended;
    char to[64], id[QUEUE_ID_SIZE];
} house = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void send_last(struct source *s)
{
    struct lines *l = TAKE_PTR(s->here);
    l->last = true;
    l->back = NULL;
    house.ended++;
    port_send(s->reply, &l->msg);
}

static void came_back(void *ctx, struct msg *m)
{
    struct lines *l = (struct lines *)(void *)m;
    (void)ctx;
    pthread_mutex_lock(&house.lock);
    struct source *s = &house.sources[l->source];
    MUST(!s->here && !l->last);
    buf_reset(&l->text);
    l->lost = 0;
    s->here = l;
    if (s->ending)
        send_last(s);
    pthread_mutex_unlock(&house.lock);
}

static void text_of(struct slice s, char *ret, size_t size)
{
    snprintf(ret, size, "%.*s", SLICE_ARG(s));
}

static int play_trace(const struct admin_trace *t, const struct port *reply, void *cookie,
                      struct err *e)
{
    if (slice_eq(t->client, SLICE_LIT("nobody")))
        return err_set(e, -EINVAL, "nobody is neither an address nor a network");
    pthread_mutex_lock(&house.lock);
    text_of(t->to, house.to, sizeof house.to);
    text_of(t->id, house.id, sizeof house.id);
    for (unsigned i = 0; i < SOURCES; i++) {
        MUST(house.n < LOOKERS * SOURCES);
        struct lines *l = must_alloc(sizeof *l);
        *l = (struct lines){
            .back = &house.port, .cookie = cookie, .source = house.n, .text = BUF_MAX(2 * PIECE)};
        house.sources[house.n++] = (struct source){.reply = reply, .cookie = cookie, .here = l};
    }
    house.begun++;
    pthread_mutex_unlock(&house.lock);
    return SOURCES;
}

static void play_trace_end(const void *cookie)
{
    pthread_mutex_lock(&house.lock);
    for (unsigned i = 0; i < house.n; i++) {
        struct source *s = &house.sources[i];
        if (s->cookie != cookie || s->ending)
            continue;
        s->ending = true;
        if (s->here)
            send_last(s);
    }
    pthread_mutex_unlock(&house.lock);
}

/* False: the reader has its lines still. */
static bool show(unsigned source, const char *rows, uint64_t lost)
{
    pthread_mutex_lock(&house.lock);
    struct source *s = &house.sources[source];
    struct lines *l = s->ending ? NULL : TAKE_PTR(s->here);
    if (l) {
        buf_add_str(&l->text, rows);
        l->lost = lost;
        port_send(s->reply, &l->msg);
    }
    pthread_mutex_unlock(&house.lock);
    return l != NULL;
}

static void show_when_it_can(unsigned source, const char *rows, uint64_t lost)
{
    int tries = 60000;
    while (!show(source, rows, lost) && --tries > 0)
        usleep(1000);
    assert_true(tries > 0);
}

static void wait_until_ended(unsigned n)
{
    for (int i = 0; i < 60000; i++) {
        pthread_mutex_lock(&house.lock);
        unsigned ended = house.ended;
        pthread_mutex_unlock(&house.lock);
        if (ended == n)
            return;
        usleep(1000);
    }
    fail_msg("%u sources have not ended", n);
}

static int begin(void **state)
{
    (void)state;
    pthread_mutex_lock(&house.lock);
    house.port = (struct port){.inbox = spooler.inbox, .fn = came_back};
    house.n = house.begun = house.ended = 0;
    pthread_mutex_unlock(&house.lock);
    return 0;
}

static void expect_asked(const char *what, const char *want)
{
    pthread_mutex_lock(&house.lock);
    assert_string_equal(what, want);
    pthread_mutex_unlock(&house.lock);
}

/* Returns when it looks. */
static FILE *look(const char *args)
{
    FILE *f = call();
    fprintf(f, "{\"id\":1,\"verb\":\"trace\",\"args\":{%s}}\n", args);
    fflush(f);
    json_t *o = read_object(f);
    assert_non_null(json_object_get(o, "progress"));
    json_decref(o);
    return f;
}

static json_t *next_row(FILE *f)
{
    for (;;) {
        json_t *o = read_object(f);
        assert_non_null(o);
        json_t *row = json_incref(json_object_get(o, "row"));
        const bool progress = json_object_get(o, "progress") != NULL;
        json_decref(o);
        if (!progress)
            return row;
    }
}

static void expect_row(FILE *f, const char *key, long long value)
{
    json_t *row = next_row(f);
    assert_int_equal(number(row, key), value);
    json_decref(row);
}

/* ---- the tests ---- */

static void rows_and_what_was_lost(void **state)
{
    (void)state;
    FILE *f = look("\"to\":\"*@b.test\",\"limit\":4");
    expect_asked(house.to, "*@b.test");
    show_when_it_can(0, "{\"n\":1}\n{\"n\":2}\n", 0);
    show_when_it_can(1, "{\"n\":3}\n", 7);
    show_when_it_can(0, "{\"n\":4}\n{\"n\":5}\n", 2);
    /* It ends with the fourth; the loss that is told with it is told. */
    struct answer a = hear(f);
    assert_true(a.ok);
    assert_int_equal(number(a.last, "rows"), 4);
    assert_int_equal(number(a.last, "lost"), 9);
    assert_int_equal(a.rows, 4 + 2);
    answer_done(&a);
    wait_until_ended(SOURCES);
    fclose(f);
}

static void what_is_asked_for_is_wrong(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"trace\",\"args\":{\"client\":\"nobody\"}}");
    struct answer a = hear(f);
    assert_false(a.ok);
    assert_string_equal(string(a.last, "code"), "usage");
    answer_done(&a);
    pthread_mutex_lock(&house.lock);
    assert_int_equal(house.begun, 0);
    pthread_mutex_unlock(&house.lock);
    say(f, "{\"id\":2,\"verb\":\"status\"}"); /* and the connection goes on */
    a = hear(f);
    assert_true(a.ok);
    answer_done(&a);
    fclose(f);
}

static void four_at_a_time(void **state)
{
    (void)state;
    FILE *four[ADMIN_TRACERS_MAX], *fifth;
    for (size_t i = 0; i < ADMIN_TRACERS_MAX; i++)
        four[i] = look("");
    fifth = call();
    say(fifth, "{\"id\":1,\"verb\":\"trace\"}");
    struct answer a = hear(fifth);
    assert_string_equal(string(a.last, "code"), "busy");
    answer_done(&a);
    /* One goes away, and the others look on. */
    fclose(four[1]);
    wait_until_ended(SOURCES);
    show_when_it_can(0, "{\"n\":1}\n", 0);
    expect_row(four[0], "n", 1);
    for (int i = 0; i < 60000; i++) { /* its place is free when its last lines are there */
        say(fifth, "{\"id\":2,\"verb\":\"trace\",\"args\":{\"for_s\":1}}");
        a = hear(fifth);
        const bool ok = a.ok;
        answer_done(&a);
        if (ok)
            break;
        usleep(1000);
    }
    wait_until_ended(2 * SOURCES);
    for (size_t i = 0; i < ADMIN_TRACERS_MAX; i++)
        if (i != 1)
            fclose(four[i]);
    fclose(fifth);
    wait_until_ended((ADMIN_TRACERS_MAX + 1) * SOURCES);
}

/* A row of so many octets. */
static struct buf long_row(unsigned n)
{
    struct buf b = BUF_MAX(2 * PIECE);
    buf_addf(&b, "{\"n\":%u,\"pad\":\"", n);
    while (b.n < PIECE)
        buf_add_str(&b, "0123456789abcdef");
    buf_add_str(&b, "\"}\n");
    return b;
}

/* Shows until the lines do not come back any more; returns how often that was. */
static unsigned show_until_kept(unsigned source)
{
    unsigned n = 0;
    for (int idle = 0; idle < 300;) {
        DEFER(buf_done) struct buf row = long_row(n);
        const bool taken = show(source, buf_str(&row), 0);
        n += taken;
        idle = taken ? 0 : idle + 1;
        if (!taken)
            usleep(1000);
        assert_true(n < 1000); /* it is bounded */
    }
    return n;
}

static void who_does_not_read(void **state)
{
    (void)state;
    FILE *f = look(""), *other = look("");
    const unsigned shown = show_until_kept(0);
    /* What the kernel takes, what waits in admin, and one piece of lines. */
    assert_true((uint64_t)shown * PIECE < PEER_UNSENT_MAX + (4U << 20));
    /* Another one is told all the same. */
    show_when_it_can(SOURCES, "{\"n\":77}\n", 0);
    expect_row(other, "n", 77);
    /* He reads again: every row in its order, then what was lost meanwhile. */
    for (unsigned i = 0; i < shown; i++)
        expect_row(f, "n", i);
    show_when_it_can(0, "{\"n\":1000}\n", 5);
    expect_row(f, "n", 1000);
    expect_row(f, "lost", 5);
    fclose(f);
    fclose(other);
    wait_until_ended(2 * SOURCES);
}

/* With lines kept for him: they go back, and the last ones are waited for. */
static void who_goes_away_without_reading(void **state)
{
    (void)state;
    FILE *f = look("");
    show_until_kept(0);
    show_until_kept(1);
    fclose(f);
    wait_until_ended(SOURCES);
    FILE *next = look("\"id\":\"0000000000007\"");
    expect_asked(house.id, "0000000000007");
    show_when_it_can(SOURCES, "{\"n\":1}\n", 0);
    expect_row(next, "n", 1);
    fclose(next);
    wait_until_ended(2 * SOURCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rows_and_what_was_lost, begin),
        cmocka_unit_test_setup(what_is_asked_for_is_wrong, begin),
        cmocka_unit_test_setup(four_at_a_time, begin),
        cmocka_unit_test_setup(who_does_not_read, begin),
        cmocka_unit_test_setup(who_goes_away_without_reading, begin),
    };
    trace_played = play_trace;
    trace_end_played = play_trace_end;
    return run_with_admin(tests, sizeof tests / sizeof *tests);
}
