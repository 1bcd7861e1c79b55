/*
 * What MAIL and RCPT asked for stays with a message: through a restart, a copy, a copy made from
 * memory because the record is damaged, a footer. What would break for a user: mail that was to be
 * held goes at once, a notice comes that nobody wanted or the one that was wanted does not, a
 * message that must not go in the clear does.
 */
#include "tests/unit/queue/compact_kit.h"
#include "tests/unit/queue/history.h"

/* Everything at once. */
static uint64_t put_asking(struct spool *s, struct message **ret)
{
    static const struct envelope_rcpt rcpts[] = {
        {.address = {(const uint8_t *)"a@example.com", 13},
         .orcpt = {(const uint8_t *)"rfc822;first@example.com", 24},
         .notify = MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY},
        {.address = {(const uint8_t *)"b@example.com", 13}, .notify = MAIL_NOTIFY_NEVER}};
    struct envelope e = {.sender = SLICE_LIT("s@x"),
                         .user = SLICE_LIT("app"),
                         .message_id = SLICE_LIT("<1@x>"),
                         .envid = SLICE_LIT("E+1"),
                         .tags = SLICE_LIT("campaign=spring\nmailing=7"),
                         .route = SLICE_LIT("smarthost"),
                         .params = {.body = MAIL_BODY_BINARYMIME,
                                    .ret = MAIL_RET_HDRS,
                                    .by = MAIL_BY_NOTIFY,
                                    .by_trace = true,
                                    .smtputf8 = true,
                                    .requiretls = true,
                                    .tls_optional = true,
                                    .priority = MAIL_PRIORITY_MIN},
                         .release = wall_add_s(NOW, 7200),
                         .by_deadline = wall_add_s(NOW, 9000),
                         .size = 3000,
                         .dsn_for = 77,
                         .dsn_delay = true,
                         .rcpts = rcpts,
                         .n_rcpts = 2};
    uint64_t id = spool_new_id(s, NOW);
    spool_put(s, id, &e, kit_body(id, 3000), false, NOW, NULL, 0, ret);
    return id;
}

static void check_asked(const struct message *m)
{
    const struct mail_params p = message_params(m);
    assert_true(slice_eq(message_envid(m), SLICE_LIT("E+1")));
    assert_true(slice_eq(message_tags(m), SLICE_LIT("campaign=spring\nmailing=7")));
    assert_true(slice_eq(message_route(m), SLICE_LIT("smarthost")));
    assert_true(p.body == MAIL_BODY_BINARYMIME && p.ret == MAIL_RET_HDRS);
    assert_true(p.by == MAIL_BY_NOTIFY && p.by_trace && p.smtputf8 && p.requiretls);
    assert_true(p.tls_optional && p.priority == MAIL_PRIORITY_MIN);
    assert_true(message_release(m).us == wall_add_s(NOW, 7200).us);
    assert_true(message_by_deadline(m).us == wall_add_s(NOW, 9000).us);
    assert_true(message_dsn_for(m) == 77 && m->dsn_delay && !m->delay_told);
    assert_true(slice_eq(recipient_orcpt(&m->rcpts[0]), SLICE_LIT("rfc822;first@example.com")));
    assert_int_equal(m->rcpts[0].notify,
                     MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY);
    assert_int_equal(m->rcpts[1].notify, MAIL_NOTIFY_NEVER);
    assert_int_equal(recipient_orcpt(&m->rcpts[1]).n, 0);
    assert_true(m->rcpts[0].due.us == message_release(m).us);
}

/* An ordinary one asks for nothing, and each thing alone is found where it stands. */
static void test_alone(void **state)
{
    (void)state;
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@b")};
    for (unsigned what = 0; what < 64; what++) {
        struct envelope e = {.message_id = SLICE_LIT("<m@x>"), .rcpts = &rcpt, .n_rcpts = 1};
        e.envid = what & 1 ? SLICE_LIT("e") : SLICE_NONE;
        e.tags = what & 2 ? SLICE_LIT("t=1") : SLICE_NONE;
        e.route = what & 4 ? SLICE_LIT("r") : SLICE_NONE;
        e.dsn_for = what & 8 ? UINT64_MAX : 0;
        e.release.us = what & 16 ? 16 : 0;
        e.by_deadline.us = what & 32 ? 32 : 0;
        struct message *m = message_new(1, &e, (struct wall){10}, NULL, NULL);
        assert_true(slice_eq(message_message_id(m), e.message_id));
        assert_true(slice_eq(message_envid(m), e.envid) && slice_eq(message_tags(m), e.tags));
        assert_true(slice_eq(message_route(m), e.route) && message_dsn_for(m) == e.dsn_for);
        assert_true(message_release(m).us == e.release.us);
        assert_true(message_by_deadline(m).us == e.by_deadline.us);
        assert_true(slice_eq(recipient_address(&m->rcpts[0]), rcpt.address));
        assert_int_equal(m->rcpts[0].due.us, what & 16 ? 16 : 10);
        assert_int_equal(message_bytes(m), sizeof *m + sizeof m->rcpts[0] + 6 + 4 +
                                               (what & 1 ? 2 : 0) + (what & 2 ? 4 : 0) +
                                               (what & 4 ? 2 : 0) + (what & 8 ? 8 : 0) +
                                               (what & 16 ? 8 : 0) + (what & 32 ? 8 : 0));
        free(m);
    }
}

/* Copied as it was, and from memory; opened again after each. */
static void test_copies(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        struct fake_disk *d = fake_disk_new(1);
        struct spool *s = open_spool(d);
        struct message *m;
        uint64_t id = put_asking(s, &m);
        commit(s);
        let_go(m);
        check_asked(m);
        if (damaged)
            assert_true(
                fake_disk_flip(d, "seg-00000001", m->record_at + RECORD_HEADER_SIZE + 30, 4));
        for (int round = 0; round < 3; round++) {
            struct spool_task *t = until_task(s);
            spool_task_run(t);
            assert_true(spool_task_end(s, t));
            commit(s);
            kit_settle(s);
            check_asked(spool_find(s, id));
            if (!damaged)
                check_read(s, id, 3000);
            check_reopened(d, &s);
            check_asked(spool_find(s, id));
        }
        spool_close(s);
        fake_disk_free(d);
    }
}

/* --- a delay is told once
 * ---------------------------------------------------------------------------
 */

static uint64_t put_notice(struct spool *s, uint64_t about, struct message **ret)
{
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("sender@example.net")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_for = about, .dsn_delay = true};
    uint64_t id = spool_new_id(s, NOW);
    spool_put(s, id, &e, NULL, false, NOW, NULL, 0, ret);
    return id;
}

/* Where an operator sent it, it goes until he says otherwise, whatever is said of it meanwhile. */
static void test_a_route_stays(void **state)
{
    static const struct verdict v = {.kind = VERDICT_DEFERRED, .code = 450};
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    const uint64_t id = kit_put(s, NOW, 1, 10, &m);
    struct rcpt_change c = {.due = NOW, .has_route = true, .route = SLICE_LIT("another")};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    c = (struct rcpt_change){.attempts = 1, .due = NOW, .verdict = &v, .host = "mx.example.org"};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    commit(s);
    assert_true(slice_eq(recipient_redirected(&m->rcpts[0]), SLICE_LIT("another")));
    check_reopened(d, &s);
    m = spool_find(s, id);
    c = (struct rcpt_change){.attempts = 1, .due = NOW, .has_route = true};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    commit(s);
    assert_int_equal(recipient_redirected(&m->rcpts[0]).n, 0);
    assert_true(slice_eq(recipient_host(&m->rcpts[0]), SLICE_LIT("mx.example.org")));
    assert_int_equal(recipient_last(&m->rcpts[0])->code, 450);
    check_reopened(d, &s);
    spool_close(s);
    fake_disk_free(d);
}

/* A segment's footer says so as well, of a notice that has come and gone in it. */
static void test_told_in_a_footer(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *notice, *other;
    const uint64_t id = kit_put(s, NOW, 1, 100, &m);
    commit(s);
    let_go(m);
    put_notice(s, id, &notice);
    deliver(s, notice);
    commit(s);
    while (s->tail == m->home) {
        kit_put(s, NOW, 1, 3000, &other);
        deliver(s, other);
        commit(s);
    }
    assert_null(take_copy(s));
    assert_true(m->home->has_footer && m->home == s->segments);
    spool_close(s);
    s = open_spool(d);
    assert_true(spool_find(s, id)->delay_told && spool_find(s, id)->home->has_footer);
    spool_close(s);
    fake_disk_free(d);
}

static void test_told_once(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *notice;
    uint64_t id = kit_put(s, NOW, 2, 3000, &m);
    struct rcpt_change c[] = {{.attempts = 1, .due = {NOW.us + 77}, .last_attempt = NOW},
                              {.rcpt = 1, .state = RCPT_DELIVERED, .attempts = 1, .dsn_due = true}};
    spool_change(s, m, c, 2, NOW, NULL, 0);
    commit(s);
    let_go(m);
    /* A notice whose batch fails has told nobody: neither of the delay nor of what else was due. */
    uint64_t lost = put_notice(s, id, NULL);
    assert_true(m->delay_told && !m->rcpts[1].dsn_due && m->n_left == 1);
    fake_disk_fail_at(d, fake_disk_steps(d) + 1, -ENOSPC);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -ENOSPC);
    assert_true(!m->delay_told && m->rcpts[1].dsn_due && m->n_left == 2);
    assert_null(spool_find(s, lost));
    put_notice(s, id, &notice);
    commit(s);
    assert_true(m->delay_told && !m->rcpts[1].dsn_due && m->n_left == 1);
    assert_int_equal(m->rcpts[0].state, RCPT_QUEUED);
    check_reopened(d, &s);
    /* The notice itself goes; that it was told stays, in copies and footers as well. */
    for (struct message *n = spool_after(s, 0); n; n = spool_after(s, n->id))
        if (message_dsn_for(n) == id) {
            deliver(s, n);
            break;
        }
    commit(s);
    for (int round = 0; round < 3; round++) {
        struct spool_task *t = until_task(s);
        spool_task_run(t);
        assert_true(spool_task_end(s, t));
        commit(s);
        kit_settle(s);
        assert_true(spool_find(s, id)->delay_told);
        check_reopened(d, &s);
        assert_true(spool_find(s, id)->delay_told);
    }
    spool_close(s);
    fake_disk_free(d);
}

/* A notice that was finished in its own segment leaves an entry in its footer, and nothing else:
 * the message lies in an older one. */
static void test_footer_tells(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *notice;
    uint64_t id = kit_put(s, NOW, 1, 3000, &m);
    commit(s);
    for (int i = 0; i < 2 * SEGMENT / 3000;
         i++) { /* so that the segments are too full to be freed */
        kit_put(s, NOW, 1, 3000, &notice);
        commit(s);
    }
    put_notice(s, id, &notice);
    commit(s);
    deliver(s, notice);
    commit(s);
    for (int i = 0; i < 2 * SEGMENT / 3000; i++) {
        kit_put(s, NOW, 1, 3000, &notice);
        commit(s);
    }
    kit_settle(s);
    assert_true(spool_find(s, id)->delay_told);
    assert_true(history_footers(d, NULL) >= 3);
    check_reopened(d, &s);
    assert_true(spool_find(s, id)->delay_told);
    history_drop_footers(d);
    check_reopened(d, &s);
    assert_true(spool_find(s, id)->delay_told);
    spool_close(s);
    fake_disk_free(d);
}

static bool due_are(const struct message *m, bool a, bool b, bool c)
{
    return m->rcpts[0].dsn_due == a && m->rcpts[1].dsn_due == b && m->rcpts[2].dsn_due == c;
}

static void put_others(struct spool *s)
{
    struct message *other;
    for (int i = 0; i < 2 * SEGMENT / 3000; i++) {
        kit_put(s, NOW, 1, 3000, &other);
        commit(s);
    }
}

/* Whom a report tells of: one alone is not looked for. */
static void test_told_range(void **state)
{
    (void)state;
    static const struct {
        uint64_t dsn_rcpt;
        uint32_t from, to;
    } rows[] = {{0, 0, 3}, {1, 0, 1}, {3, 2, 3}, {4, 0, 0}, {UINT64_MAX, 0, 0}};
    const struct message m = {.n_rcpts = 3};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct message_range told = message_told(&m, rows[i].dsn_rcpt);
        assert_int_equal(told.from, rows[i].from);
        assert_int_equal(told.to, rows[i].to);
    }
}

/* A report on one of several: the others are still to be told, also when it was finished and only a
 * footer knows of it, and when its batch fails. */
static void test_told_of_one(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *report;
    const struct envelope_rcpt rcpt = {.address = SLICE_LIT("sender@example.net")};
    uint64_t id = kit_put(s, NOW, 3, 3000, &m);
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_for = id, .dsn_rcpt = 2};
    struct rcpt_change c[3];
    for (uint32_t i = 0; i < 3; i++)
        c[i] =
            (struct rcpt_change){.rcpt = i, .state = RCPT_BOUNCED, .attempts = 1, .dsn_due = true};
    spool_change(s, m, c, 3, NOW, NULL, 0);
    commit(s);
    put_others(s);
    spool_put(s, spool_new_id(s, NOW), &e, NULL, false, NOW, NULL, 0, NULL);
    assert_true(due_are(m, true, false, true));
    fake_disk_fail_at(d, fake_disk_steps(d) + 1, -ENOSPC);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -ENOSPC);
    assert_true(due_are(m, true, true, true));
    spool_put(s, spool_new_id(s, NOW), &e, NULL, false, NOW, NULL, 0, &report);
    commit(s);
    assert_true(due_are(m, true, false, true) && m->n_left == 2);
    deliver(s, report);
    commit(s);
    check_reopened(d, &s);
    assert_true(due_are(spool_find(s, id), true, false, true));
    put_others(s);
    kit_settle(s);
    assert_true(history_footers(d, NULL) >= 3);
    check_reopened(d, &s);
    assert_true(due_are(spool_find(s, id), true, false, true));
    history_drop_footers(d);
    check_reopened(d, &s);
    assert_true(due_are(spool_find(s, id), true, false, true));
    /* When the last one is told the message is gone. */
    for (e.dsn_rcpt = 1; e.dsn_rcpt <= 3; e.dsn_rcpt += 2)
        spool_put(s, spool_new_id(s, NOW), &e, NULL, false, NOW, NULL, 0, NULL);
    commit(s);
    assert_null(spool_find(s, id));
    check_reopened(d, &s);
    assert_null(spool_find(s, id));
    spool_close(s);
    fake_disk_free(d);
}

/* A message whose sender another spool has told: it is not told again, whatever is copied. */
static void test_told_elsewhere(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@example.net")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_delay = true};
    struct message *m;
    const uint64_t id = spool_new_id(s, NOW);
    spool_put(s, id, &e, kit_body(id, 3000), false, NOW, NULL, 0, &m);
    assert_true(m->delay_told);
    assert_true(message_late_at(m, 1).us == WALL_NEVER.us);
    commit(s);
    let_go(m);
    check_reopened(d, &s);
    assert_true(spool_find(s, id)->delay_told);
    for (int i = 0; i < 4 * SEGMENT / 3000; i++) {
        kit_put(s, NOW, 1, 3000, &m);
        commit(s);
        deliver(s, m);
        commit(s);
    }
    kit_settle(s);
    assert_true(spool_find(s, id)->delay_told);
    check_reopened(d, &s);
    assert_true(spool_find(s, id)->delay_told);
    spool_close(s);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),          cmocka_unit_test(test_copies),
        cmocka_unit_test(test_told_once),      cmocka_unit_test(test_told_in_a_footer),
        cmocka_unit_test(test_a_route_stays),  cmocka_unit_test(test_footer_tells),
        cmocka_unit_test(test_told_range),     cmocka_unit_test(test_told_of_one),
        cmocka_unit_test(test_told_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
