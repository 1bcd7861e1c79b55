/* The spooler's thread as its users meet it: by messages, with real files. */
#include "queue/id.h"
#include "relay/base/must.h"
#include "relay/spooler/again.h"
#include "relay/spooler/damage.h"
#include "relay/spooler/requests.h"
#include "relay/spooler/spooler.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* One loop plays all the rest of the house; the test's thread runs it until it has seen what it
 * wants. */
struct house {
    char folder[64];
    struct spooler *spooler;
    struct loop *loop;
    struct inbox *inbox;
    struct port port;
    struct deadline too_long;
    unsigned wanted, n_wanted; /* so many of this type */
    struct msg *seen[32];      /* answers and orders, in order */
    struct mono at[32];
    size_t n;
    int64_t sync_delay_ms;
    _Atomic unsigned events, damaged;
};

static void on_message(void *ctx, struct msg *m)
{
    struct house *h = ctx;
    assert_true(h->n < 32);
    h->at[h->n] = mono_now();
    h->seen[h->n++] = m;
    if (m->type == h->wanted && --h->n_wanted == 0)
        loop_stop(h->loop);
}

static void on_too_long(void *ctx, struct mono now)
{
    (void)ctx;
    (void)now;
    fail_msg("no answer in two minutes");
}

static void on_event(void *ctx, const struct event *e)
{
    struct house *h = ctx;
    assert_true(e->seq > 0);
    h->events++;
    h->damaged += e->name == EVENT_SPOOL_DAMAGED;
}

static void begin(struct house *h)
{
    struct err e = {0};
    struct spool_report report;
    struct spooler_conf c = {.path = h->folder,
                             .retry = {.pause_s = {60}, .n = 1},
                             .lifetime_s = 86400,
                             .node = SLICE_LIT("t"),
                             .segment_bytes = 1 << 20,
                             .sync_delay_ms = h->sync_delay_ms};
    h->loop = loop_new("test", 0);
    h->inbox = inbox_new(h->loop, NULL, NULL);
    h->port = (struct port){h->inbox, on_message, h};
    deadline_init(h->loop, &h->too_long, on_too_long, h);
    deadline_set(h->loop, &h->too_long, mono_add(mono_now(), 120000));
    assert_int_equal(spooler_new(&h->spooler, &c, &report, &e), 0);
    const struct port *ports[] = {&h->port};
    spooler_set_outbound(h->spooler, ports, 1);
    spooler_set_events(h->spooler, on_event, h);
    assert_int_equal(spooler_start(h->spooler), 0);
}

static void drop(struct msg *m)
{
    if (m->type >= OUT_RESOLVE)
        spooler_order_free(m);
    else
        spooler_request_free(m);
}

static void finish(struct house *h)
{
    spooler_free(h->spooler);
    inbox_free(h->inbox, drop);
    loop_free(h->loop);
    for (size_t i = 0; i < h->n; i++)
        drop(h->seen[i]);
    h->n = 0;
}

static struct msg *last(struct house *h, unsigned type)
{
    for (size_t i = h->n; i > 0; i--)
        if (h->seen[i - 1]->type == type)
            return h->seen[i - 1];
    return NULL;
}

/* A loop that was stopped has ended for good: one wait a house. */
static void run_until_n(struct house *h, unsigned type, unsigned n)
{
    h->wanted = type;
    h->n_wanted = n;
    loop_run_here(h->loop);
    assert_non_null(last(h, type));
}

static void run_until(struct house *h, unsigned type)
{
    run_until_n(h, type, 1);
}

static int setup(void **state)
{
    struct house *h = must_alloc(sizeof *h);
    snprintf(h->folder, sizeof h->folder, "/tmp/pw-spooler-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct house *h = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", h->folder);
    assert_int_equal(system(command), 0);
    free(h);
    return 0;
}

static const struct envelope_rcpt rcpt = {.address = {(const uint8_t *)"r@a.test", 8}};

static uint64_t store(struct house *h, size_t n_body, uint64_t body_file)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_STORE;
    q->reply = &h->port;
    q->id = body_file ? body_file : spooler_new_id(wall_now());
    q->envelope = (struct envelope){.sender = SLICE_LIT("a@x.test"),
                                    .message_id = SLICE_LIT("<m@x>"),
                                    .size = n_body,
                                    .rcpts = &rcpt,
                                    .n_rcpts = 1};
    if (!body_file) {
        q->body = body_new(n_body);
        memset(q->body->bytes, 'x', n_body);
    }
    uint64_t id = q->id;
    port_send(spooler_port(h->spooler), &q->msg);
    return id;
}

/* Promise 2: the answer is never earlier than the sync; and a restart has the message. */
static void the_answer_waits_for_the_sync(void **state)
{
    struct house *h = *state;
    h->sync_delay_ms = 300;
    begin(h);
    struct mono before = mono_now();
    store(h, 1000, 0);
    run_until(h, SPOOLER_STORE);
    struct spooler_store *answer = (struct spooler_store *)(void *)last(h, SPOOLER_STORE);
    assert_int_equal(answer->error, 0);
    assert_null(answer->body);
    assert_true(h->at[0].ms - before.ms >= 300);
    finish(h);
    assert_int_equal(h->events, 1);

    h->sync_delay_ms = 0;
    begin(h);
    run_until(h, OUT_RESOLVE); /* it is there and wants to go */
    finish(h);
}

static void step(struct house *h, uint64_t id, enum spooler_body_step what, size_t n)
{
    struct spooler_body *b = must_alloc(sizeof *b);
    b->msg.type = SPOOLER_BODY;
    b->reply = &h->port;
    b->id = id;
    b->step = what;
    b->bytes = BUF_MAX(n + 1);
    for (size_t i = 0; i < n; i++)
        buf_add_u8(&b->bytes, 'b');
    port_send(spooler_port(h->spooler), &b->msg);
}

static void read_back(struct house *h, uint64_t id, uint64_t offset, size_t n)
{
    struct spooler_read *r = must_alloc(sizeof *r);
    r->msg.type = SPOOLER_READ;
    r->reply = &h->port;
    r->id = id;
    r->offset = offset;
    r->n = n;
    port_send(spooler_port(h->spooler), &r->msg);
}

static void large_content_is_written_and_read_in_pieces(void **state)
{
    struct house *h = *state;
    begin(h);
    uint64_t id = spooler_new_id(wall_now());
    step(h, id, SPOOLER_BODY_WRITE, 200000);
    step(h, id, SPOOLER_BODY_WRITE, 100000);
    step(h, id, SPOOLER_BODY_FINISH, 0);
    run_until_n(h, SPOOLER_BODY, 3);
    for (size_t i = 0; i < h->n; i++)
        assert_int_equal(((struct spooler_body *)(void *)h->seen[i])->error, 0);
    store(h, 300000, id);
    step(h, id, SPOOLER_BODY_ABANDON, 0); /* too late: it is the message's */
    finish(h);                            /* the last flush takes it */

    begin(h);
    read_back(h, id, 299000, 5000);
    run_until(h, SPOOLER_READ);
    struct spooler_read *r = (struct spooler_read *)(void *)last(h, SPOOLER_READ);
    assert_int_equal(r->error, 0);
    assert_int_equal(r->body->n, 1000);
    assert_int_equal(r->body->bytes[999], 'b');
    finish(h);
}

/* Its client went away between the end of its data and the record. */
static void a_finished_file_is_given_up(void **state)
{
    struct house *h = *state;
    char command[128];
    begin(h);
    uint64_t given_up = spooler_new_id(wall_now()), kept = spooler_new_id(wall_now());
    step(h, given_up, SPOOLER_BODY_WRITE, 300000);
    step(h, given_up, SPOOLER_BODY_FINISH, 0);
    step(h, kept, SPOOLER_BODY_WRITE, 300000);
    step(h, kept, SPOOLER_BODY_FINISH, 0);
    step(h, given_up, SPOOLER_BODY_ABANDON, 0);
    run_until_n(h, SPOOLER_BODY, 5);
    store(h, 300000, kept);
    finish(h);
    snprintf(command, sizeof command, "test $(ls %s/body | wc -l) = 1", h->folder);
    assert_int_equal(system(command), 0);
}

static void an_unknown_message_cannot_be_read(void **state)
{
    struct house *h = *state;
    begin(h);
    read_back(h, 12345, 0, SIZE_MAX);
    run_until(h, SPOOLER_READ);
    assert_int_equal(((struct spooler_read *)(void *)last(h, SPOOLER_READ))->error, -ENOENT);
    finish(h);
}

/* Promise 12, first half. */
static void a_spool_has_one_owner(void **state)
{
    struct house *h = *state;
    begin(h);
    struct spooler *second;
    struct spool_report report;
    struct err e = {0};
    struct spooler_conf c = {.path = h->folder,
                             .retry = {.pause_s = {60}, .n = 1},
                             .lifetime_s = 86400,
                             .node = SLICE_LIT("t")};
    assert_int_equal(spooler_new(&second, &c, &report, &e), -EWOULDBLOCK);
    assert_true(e.text[0] != 0);
    finish(h);
}

/* The operator hears what the start had to leave behind. */
static void damage_is_said_at_the_start(void **state)
{
    struct house *h = *state;
    begin(h);
    store(h, 1000, 0);
    run_until(h, SPOOLER_STORE);
    finish(h);
    char path[128], text[2000] = "";
    snprintf(path, sizeof path, "%s/seg-00000001", h->folder);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, 4096 + 20, SEEK_SET), 0);
    fputc(0x77, f);
    fclose(f);

    FILE *said = tmpfile();
    int keep = dup(STDERR_FILENO);
    assert_true(said && keep >= 0 && dup2(fileno(said), STDERR_FILENO) >= 0);
    begin(h);
    dup2(keep, STDERR_FILENO);
    close(keep);
    rewind(said);
    assert_true(fread(text, 1, sizeof text - 1, said) > 0);
    fclose(said);
    assert_non_null(strstr(text, "event=spool_damaged"));
    assert_non_null(strstr(text, "seg-00000001: damaged copy of the segment header"));
    finish(h);
    assert_int_equal(h->damaged, 1); /* whoever reads the delivery log hears it, too */
}

/* Many findings are twenty lines and their number. */
static void damage_is_no_flood(void **state)
{
    struct house *h = *state;
    begin(h);
    struct damage d = {0};
    for (unsigned i = 0; i < DAMAGE_SAY_MAX + 5; i++)
        damage_say(&d, "seg-00000001: damaged record at 8192, 100 bytes");
    damage_opened(&d, &h->port, 77);
    damage_say(&d, "one more, later");
    run_until_n(h, SPOOLER_NOTE, DAMAGE_SAY_MAX + 1);
    assert_int_equal(h->n, DAMAGE_SAY_MAX + 1);
    for (size_t i = 0; i < h->n; i++) {
        struct spooler_note *n = (struct spooler_note *)(void *)h->seen[i];
        struct slice fields = buf_slice(&n->fields);
        assert_int_equal(n->name, EVENT_SPOOL_DAMAGED);
        assert_true(fields.n > 0 && i == DAMAGE_SAY_MAX
                        ? memmem(fields.p, fields.n, "77 findings", 11) != NULL
                        : memmem(fields.p, fields.n, "at 8192", 7) != NULL);
    }
    finish(h);
}

/* What was handed over before the end is not lost by stopping. */
static void stopping_keeps_what_was_sent(void **state)
{
    struct house *h = *state;
    begin(h);
    for (int i = 0; i < 50; i++) {
        struct spooler_note *n = must_alloc(sizeof *n);
        n->msg.type = SPOOLER_NOTE;
        n->name = EVENT_REJECTED;
        n->fields = BUF_MAX(100);
        event_add_str(&n->fields, EV_SENDER, SLICE_LIT("a@x"));
        port_send(spooler_port(h->spooler), &n->msg);
    }
    finish(h);
    assert_int_equal(h->events, 50);
}

/* Segments of mail, most of it delivered: more than twice what lives. */
static void fill(struct house *h, uint64_t *ids, size_t n)
{
    int error = 0;
    struct file_ops *fs = file_posix_new(h->folder, &error);
    struct spool_options o = {.segment_bytes = 1 << 20, .lifetime_s = 86400};
    struct spool *s;
    struct err e = {0};
    assert_non_null(fs);
    assert_int_equal(spool_open(&s, fs, &o, NULL, &e), 0);
    struct envelope envelope = {.size = 8000, .rcpts = &rcpt, .n_rcpts = 1};
    for (size_t i = 0; i < 10 * n; i++) {
        struct message *m;
        struct body *b = body_new(8000);
        memset(b->bytes, 'x', b->n);
        uint64_t id = spool_new_id(s, wall_now());
        spool_put(s, id, &envelope, b, false, wall_now(), NULL, 0, &m);
        struct rcpt_change c = {.state = i % 10 ? RCPT_DELIVERED : RCPT_HELD, .attempts = 1};
        spool_change(s, m, &c, 1, wall_now(), NULL, 0);
        if (i % 10 == 0)
            ids[i / 10] = id;
    }
    spool_close(s);
    file_posix_free(fs);
}

/* Space is being given back from the first moment; stopping waits for the task that is out. */
static void stopping_in_the_middle_of_housekeeping(void **state)
{
    struct house *h = *state;
    enum { N = 100 };
    uint64_t ids[N];
    char oldest[128];
    fill(h, ids, N);
    snprintf(oldest, sizeof oldest, "%s/seg-00000001", h->folder);
    for (unsigned round = 0; round < 6 || (round < 200 && access(oldest, F_OK) == 0); round++) {
        begin(h);
        if (round != 5)
            usleep(1000 * round);
        else
            read_back(h, ids[N - 1], 0, SIZE_MAX);
        if (round == 5)
            run_until(h, SPOOLER_READ);
        finish(h);
    }
    /* The oldest one has gone, and all that was held is there. */
    assert_int_not_equal(access(oldest, F_OK), 0);
    int error = 0;
    struct file_ops *fs = file_posix_new(h->folder, &error);
    struct spool_report report;
    struct err e = {0};
    assert_int_equal(spool_verify(fs, false, NULL, NULL, &report, &e), 0);
    assert_int_equal(report.messages, N);
    file_posix_free(fs);
}

static void ask_check(struct house *h)
{
    struct spooler_check *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_CHECK;
    q->reply = &h->port;
    port_send(spooler_port(h->spooler), &q->msg);
}

/* The second one is refused, and the first one, given up when all stops, holds the spool no more.
 */
static void one_check_at_a_time(void **state)
{
    struct house *h = *state;
    begin(h);
    store(h, 1000, 0);
    ask_check(h);
    ask_check(h);
    run_until_n(h, SPOOLER_CHECK, 2);
    unsigned busy = 0;
    for (size_t i = 0; i < h->n; i++) {
        struct spooler_check *q = (struct spooler_check *)(void *)h->seen[i];
        if (h->seen[i]->type != SPOOLER_CHECK)
            continue;
        busy += q->error == -EBUSY;
        if (q->over)
            continue;
        q->give_up = true;
        h->seen[i] = h->seen[--h->n];
        port_send(spooler_port(h->spooler), &q->msg);
    }
    assert_int_equal(busy, 1);
    finish(h);
}

/* A check that is asked for when the threads have ended, or never began, is not begun: nobody would
 * end its helper. */
static void no_check_at_the_end(void **state)
{
    struct house *h = *state;
    struct err e = {0};
    struct spool_report report;
    const struct spooler_conf c = {.path = h->folder,
                                   .retry = {.pause_s = {60}, .n = 1},
                                   .lifetime_s = 86400,
                                   .node = SLICE_LIT("t")};
    assert_int_equal(spooler_new(&h->spooler, &c, &report, &e), 0);
    struct spooler_check *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_CHECK;
    port_send(spooler_port(h->spooler), &q->msg);
    spooler_free(h->spooler);
}

/* What the log asked for once more. */
struct asked_again {
    struct house *h;
    uint64_t last;
    _Atomic uint64_t through;
    _Atomic unsigned told, ends;
};

static void on_again(void *ctx, const struct event *e)
{
    struct asked_again *q = ctx;
    assert_true(e->seq > 0);
    q->told++;
}

static void on_again_end(void *ctx, uint64_t through)
{
    struct asked_again *q = ctx;
    q->through = through;
    q->ends++;
}

static void ask_again(struct asked_again *q)
{
    const unsigned before = q->ends;
    struct spooler_again *m = must_alloc(sizeof *m);
    *m = (struct spooler_again){.msg.type = SPOOLER_AGAIN,
                                .upto = q->last,
                                .ctx = q,
                                .each = on_again,
                                .end = on_again_end};
    port_send(spooler_port(q->h->spooler), &m->msg);
    for (unsigned i = 0; i < 20000 && q->ends == before; i++)
        usleep(5000);
    assert_int_equal(q->ends, before + 1);
}

static void note_some(struct house *h, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct spooler_note *note = must_alloc(sizeof *note);
        note->msg.type = SPOOLER_NOTE;
        note->name = EVENT_CONFIG_RELOADED;
        port_send(spooler_port(h->spooler), &note->msg);
    }
    for (unsigned i = 0; i < 20000 && h->events < n; i++)
        usleep(5000);
    assert_int_equal(h->events, n);
}

/* Asks until there is an answer; how often there was none before. */
static unsigned ask_again_until(struct asked_again *q)
{
    unsigned n = 0;
    for (ask_again(q); q->through == 0 && n < 2 * AGAIN_TRIES; n++)
        ask_again(q);
    return n;
}

/* A file of the spool is gone while the delivery log wants its events: the log would stand still
 * for ever. It is waited for, then done without, and that is told. */
static void what_cannot_be_read_again_is_left_out(void **state)
{
    struct house *h = *state;
    char path[128], away[128];
    snprintf(path, sizeof path, "%s/seg-00000001", h->folder);
    snprintf(away, sizeof away, "%s/away", h->folder);
    begin(h);
    note_some(h, 5);
    struct asked_again q = {.h = h, .last = 5};
    assert_int_equal(ask_again_until(&q), 0);
    assert_int_equal(rename(path, away), 0);
    for (unsigned i = 0; i < AGAIN_TRIES / 2; i++)
        ask_again(&q);
    assert_true(q.through == 0 && q.told == 5);
    assert_int_equal(rename(away, path), 0); /* it comes back: nothing is left out */
    ask_again(&q);
    assert_true(q.through == 5 && q.told == 10);
    assert_int_equal(rename(path, away), 0);
    /* The helper answers before the spooler's thread has counted. */
    const unsigned tries = ask_again_until(&q);
    assert_in_range(tries, AGAIN_TRIES, AGAIN_TRIES + 2);
    assert_true(q.through == 5 && q.told == 10);
    assert_int_equal(rename(away, path), 0);
    for (unsigned i = 0; i < 20000 && h->damaged == 0; i++)
        usleep(5000);
    assert_int_equal(h->damaged, 1);
    ask_again(&q); /* what can be read is told */
    assert_int_equal(q.told, 15);
    finish(h);
}

static void ids_grow(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t id = spooler_new_id((struct wall){INT64_C(1800000000) * WALL_SECOND - i});
        assert_true(id > before);
        before = id;
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_answer_waits_for_the_sync),
        TEST(large_content_is_written_and_read_in_pieces),
        TEST(an_unknown_message_cannot_be_read),
        TEST(a_spool_has_one_owner),
        TEST(stopping_keeps_what_was_sent),
        TEST(damage_is_said_at_the_start),
        TEST(a_finished_file_is_given_up),
        TEST(damage_is_no_flood),
        TEST(stopping_in_the_middle_of_housekeeping),
        TEST(one_check_at_a_time),
        TEST(no_check_at_the_end),
        TEST(what_cannot_be_read_again_is_left_out),
        cmocka_unit_test(ids_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
