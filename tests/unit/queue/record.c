/* Records: what does not decode exactly as written would be a message changed on its way through
 * the disk. */
#include "queue/record.h"
#include "relay/base/crc32c.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_crc(void **state)
{
    (void)state;
    /* RFC 3720, appendix B.4. */
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
}

static void test_crc_any_split_and_by_table(void **state)
{
    (void)state;
    uint8_t bytes[200];
    struct rng r;
    rng_seed(&r, 1);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)rng_next(&r);
    for (size_t n = 0; n < sizeof bytes; n++) {
        uint32_t whole = crc32c(5, bytes, n);
        assert_int_equal(whole, crc32c_table(5, bytes, n));
        assert_int_equal(whole, crc32c(crc32c(5, bytes, n / 3), bytes + n / 3, n - n / 3));
    }
}

static void test_header(void **state)
{
    (void)state;
    struct record_header h = {.length = 1000,
                              .head = 100,
                              .segment = 7,
                              .batch = 8192,
                              .type = RECORD_STATE,
                              .number = UINT64_MAX,
                              .head_crc = 0xdeadbeef};
    struct record_header back;
    uint8_t p[RECORD_HEADER_SIZE];
    record_header_write(p, &h, 99);
    assert_true(record_header_read(p, 99, &back));
    assert_memory_equal(&h.length, &back.length, 4);
    assert_true(back.head == 100 && back.segment == 7 && back.batch == 8192 &&
                back.type == RECORD_STATE);
    assert_true(back.number == UINT64_MAX && back.head_crc == 0xdeadbeef);
    /* Another spool's salt, and every flipped bit. */
    assert_false(record_header_read(p, 98, &back));
    for (size_t bit = 0; bit < 8 * sizeof p; bit++) {
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(record_header_read(p, 99, &back));
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    static const struct record_header bad[] = {
        {.length = 10, .head = 11, .type = RECORD_STATE},
        {.length = RECORD_LENGTH_MAX + 1, .type = RECORD_STATE},
        {.type = (enum record_type)0},
        {.type = (enum record_type)6},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        record_header_write(p, &bad[i], 99);
        assert_false(record_header_read(p, 99, &back));
    }
}

static void assert_verdict(const struct verdict *a, const struct verdict *b)
{
    assert_true(a->kind == b->kind && a->scope == b->scope && a->class == b->class &&
                a->phase == b->phase);
    assert_true(a->fault == b->fault && a->code == b->code &&
                a->text_truncated == b->text_truncated);
    assert_true(a->enhanced.class == b->enhanced.class &&
                a->enhanced.subject == b->enhanced.subject &&
                a->enhanced.detail == b->enhanced.detail);
    assert_true(slice_eq(slice_str(a->text), slice_str(b->text)));
}

static void verdict_round(const struct verdict *v)
{
    struct buf out = BUF_MAX(10000);
    struct verdict back;
    verdict_write(&out, v);
    assert_true(verdict_read(buf_slice(&out), &back));
    assert_verdict(v, &back);
    verdict_done(&back);
    for (size_t n = 0; n < out.n; n++)
        assert_false(verdict_read(slice_of(out.p, n), &back));
    buf_done(&out);
}

static void test_verdict(void **state)
{
    (void)state;
    for (int f = FAULT_NONE + 1; f < FAULT_COUNT; f++) {
        struct verdict v = verdict_of_fault((enum fault)f, PHASE_EOD, SLICE_LIT("detail"));
        verdict_round(&v);
        verdict_done(&v);
    }
    for (int c = CLASS_NONE; c <= CLASS_OTHER; c++) {
        struct verdict v = {.kind = VERDICT_FAILED,
                            .scope = SCOPE_SITE,
                            .class = (enum verdict_class)c,
                            .phase = (enum phase)(c % (PHASE_EOD + 1)),
                            .code = 550,
                            .enhanced = {5, 1, 999},
                            .text_truncated = true};
        verdict_round(&v);
    }
    /* A cause that only a later version knows. */
    struct buf out = BUF_MAX(1000);
    static const uint8_t fixed[] = {VERDICT_DEFERRED, SCOPE_HOST, 0, 0, 0, 4, 4, 0, 1, 0};
    buf_add(&out, slice_of(fixed, sizeof fixed));
    buf_add_prefixed(&out, SLICE_LIT("class_of_tomorrow"));
    buf_add_prefixed(&out, SLICE_LIT("banner"));
    buf_add_prefixed(&out, SLICE_LIT("meteorite"));
    buf_add_prefixed(&out, SLICE_LIT("words"));
    struct verdict v;
    assert_true(verdict_read(buf_slice(&out), &v));
    assert_true(v.kind == VERDICT_DEFERRED && v.class == CLASS_NONE && v.phase == PHASE_BANNER &&
                v.fault == FAULT_NONE);
    assert_string_equal(v.text, "words");
    verdict_done(&v);
    buf_done(&out);
}

static void test_changes(void **state)
{
    (void)state;
    static const struct change rows[] = {
        {.rcpt = 0, .state = RCPT_QUEUED},
        {.rcpt = 65534,
         .state = RCPT_CANCELLED,
         .attempts = UINT32_MAX,
         .due = {INT64_MAX},
         .last_attempt = {-1},
         .dsn_due = true},
        {.rcpt = 1, .state = RCPT_HELD, .has_verdict = true, .verdict = {(const uint8_t *)"v", 1}},
        {.rcpt = 2,
         .state = RCPT_BOUNCED,
         .has_host = true,
         .host = {(const uint8_t *)"h", 1},
         .dsn_due = true},
        {.rcpt = 3, .has_host = true, .has_verdict = true},
        {.rcpt = 4, .has_route = true, .route = {(const uint8_t *)"way", 3}},
        {.rcpt = 5, .has_priority = true, .priority = -9},
        {.rcpt = 6, .has_route = true, .has_priority = true, .priority = 9, .dsn_due = true},
    };
    const size_t n_rows = sizeof rows / sizeof *rows;
    struct buf out = BUF_MAX(10000);
    for (size_t i = 0; i < n_rows; i++)
        change_write(&out, &rows[i]);
    struct cursor c = cursor_of(buf_slice(&out));
    struct change back;
    for (size_t i = 0; i < n_rows; i++) {
        assert_true(change_next(&c, &back));
        assert_true(back.rcpt == rows[i].rcpt && back.state == rows[i].state &&
                    back.attempts == rows[i].attempts);
        assert_true(back.due.us == rows[i].due.us &&
                    back.last_attempt.us == rows[i].last_attempt.us);
        assert_true(back.dsn_due == rows[i].dsn_due && back.has_verdict == rows[i].has_verdict);
        assert_true(back.has_host == rows[i].has_host && slice_eq(back.host, rows[i].host));
        assert_true(slice_eq(back.verdict, rows[i].verdict));
        assert_true(back.has_route == rows[i].has_route && slice_eq(back.route, rows[i].route));
        assert_true(back.has_priority == rows[i].has_priority && back.priority == rows[i].priority);
    }
    assert_false(change_next(&c, &back));
    assert_false(c.bad);
    for (size_t n = 0; n < out.n; n++) {
        c = cursor_of(slice_of(out.p, n));
        while (change_next(&c, &back))
            ;
        assert_true(c.bad || c.rest.n == 0);
    }
    out.p[1] = RCPT_CANCELLED + 1; /* a state that does not exist */
    c = cursor_of(buf_slice(&out));
    assert_false(change_next(&c, &back));
    assert_true(c.bad);
    /* A flag, and a priority, that this version does not know. */
    static const uint8_t flags[] = {32, 16};
    for (size_t i = 0; i < 2; i++) {
        buf_reset(&out);
        change_write(&out, &(struct change){.has_priority = true, .priority = 9});
        out.p[2] = flags[i];
        out.p[out.n - 1] += (uint8_t)i;
        c = cursor_of(buf_slice(&out));
        assert_false(change_next(&c, &back));
        assert_true(c.bad);
    }
    buf_done(&out);
}

struct got {
    uint64_t next;
    int n;
};

static void on_event(void *ctx, const struct event *e)
{
    struct got *g = ctx;
    assert_int_equal(e->seq, g->next);
    assert_int_equal(e->time.us, 1234);
    assert_int_equal(e->name, EVENT_ACCEPTED + g->n);
    assert_int_equal(e->fields.n, (size_t)g->n);
    g->next++;
    g->n++;
}

static void test_events(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(10000);
    assert_int_equal(events_read(SLICE_NONE, NULL, NULL), 0);
    events_begin(&out, (struct wall){1234});
    for (int i = 0; i < 5; i++)
        events_add(&out, (enum event_name)(EVENT_ACCEPTED + i), slice_of("abcdef", (size_t)i));
    events_number(out.p, UINT64_C(1) << 40);
    struct got g = {UINT64_C(1) << 40, 0};
    assert_int_equal(events_read(buf_slice(&out), on_event, &g), 5);
    assert_int_equal(g.n, 5);
    assert_int_equal(events_read(slice_of(out.p, out.n - 1), NULL, NULL), -1);
    assert_int_equal(events_read(slice_of(out.p, 7), NULL, NULL), -1);
    buf_done(&out);
}

static void test_message_and_state(void **state)
{
    (void)state;
    struct message_record m = {.body_crc = 1,
                               .flags = MESSAGE_IS_COPY,
                               .id = 2,
                               .queued = {3},
                               .expires = {4},
                               .body_bytes = 5};
    struct message_record back;
    struct buf out = BUF_MAX(1000);
    message_record_write(&out, &m);
    buf_add_prefixed(&out, SLICE_LIT("envelope"));
    buf_add_prefixed(&out, SLICE_LIT("changes"));
    for (size_t n = 0; n < out.n; n++)
        assert_false(message_record_read(slice_of(out.p, n), &back));
    buf_add_str(&out, "events");
    assert_true(message_record_read(buf_slice(&out), &back));
    assert_true(back.body_crc == 1 && back.flags == MESSAGE_IS_COPY && back.id == 2 &&
                back.queued.us == 3);
    assert_true(back.expires.us == 4 && back.body_bytes == 5);
    assert_true(slice_eq(back.envelope, SLICE_LIT("envelope")) &&
                slice_eq(back.changes, SLICE_LIT("changes")));
    assert_true(slice_eq(back.events, SLICE_LIT("events")));
    buf_reset(&out);
    struct state_record s;
    buf_add_u64(&out, 77);
    buf_add_prefixed(&out, SLICE_LIT("changes"));
    for (size_t n = 0; n < out.n; n++)
        assert_false(state_record_read(slice_of(out.p, n), &s));
    assert_true(state_record_read(buf_slice(&out), &s));
    assert_true(s.id == 77 && slice_eq(s.changes, SLICE_LIT("changes")) && s.events.n == 0);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_crc_any_split_and_by_table),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_verdict),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_message_and_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
