/* Operators over a large queue. If this breaks, a listing loses or repeats rows, a change of a
 * million holds up mail, or is told as done before it is on the disk. */
#include "tests/unit/spooler/world.h"

/* A message to user0@a.test … */
static uint64_t store_to(struct world *w, size_t n)
{
    static char text[4000][16];
    static struct envelope_rcpt to[4000];
    assert_true(n <= 4000);
    for (size_t i = 0; i < n; i++) {
        int length = snprintf(text[i], sizeof text[i], "u%zu@a.test", i);
        to[i] = (struct envelope_rcpt){.address = slice_of(text[i], (size_t)length)};
    }
    struct spooler_store *q = must_alloc(sizeof *q);
    q->id = w->last_id = queue_id_next(w->last_id, w->now);
    q->envelope = (struct envelope){
        .sender = SLICE_LIT("a@x.test"), .size = w->last_id % 997, .rcpts = to, .n_rcpts = n};
    q->body = body_new(5);
    memcpy(q->body->bytes, "abc\r\n", 5);
    uint64_t id = q->id;
    give(w, q, SPOOLER_STORE);
    return id;
}

static void store_some(struct world *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        store_to(w, 1);
        pump(w);
        forget(w);
    }
}

static struct spooler_admin *request(enum admin_verb verb)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = verb;
    a->rows_max = UINT64_MAX;
    a->actor = buf_of(SLICE_LIT("root"));
    return a;
}

/* Hands it in and takes it back; NULL: not answered yet. */
static struct spooler_admin *step(struct world *w, struct spooler_admin *a)
{
    a->at = a->next;
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    struct core_action *answer = seen(w, CORE_ANSWER, SPOOLER_ADMIN);
    if (!answer)
        return NULL;
    assert_ptr_equal(answer->msg, a);
    *answer = w->seen[--w->n];
    forget(w);
    return a;
}

static void run_to_end(struct world *w, struct spooler_admin *a)
{
    do
        assert_non_null(step(w, a));
    while (a->next.id);
}

/* Pages end within a message, and no recipient is lost or given twice, whatever the text. */
static void a_great_message_is_several_pages(void **state)
{
    struct world *w = *state;
    core_set_events(w->core, NULL, NULL);
    uint64_t id = store_to(w, 4000);
    store_to(w, 3);
    struct spooler_admin *a = request(ADMIN_LIST);
    uint32_t rows = 0, pages = 0;
    do {
        assert_non_null(step(w, a));
        assert_true(a->n_rows <= PAGE_ROWS);
        for (size_t i = 0; i < a->n_rows; i++, rows++) {
            char want[32];
            uint32_t rcpt = rows < 4000 ? rows : rows - 4000;
            snprintf(want, sizeof want, "u%u@a.test", rcpt);
            assert_int_equal(a->rows[i].rcpt, rcpt);
            assert_int_equal(a->rows[i].id == id, rows < 4000);
            assert_true(slice_eq(a->rows[i].recipient, slice_str(want)));
            assert_true(slice_eq(a->rows[i].sender, SLICE_LIT("a@x.test")));
        }
        pages++;
    } while (a->next.id);
    assert_int_equal(rows, 4003);
    assert_int_equal(a->matched, 4003);
    assert_true(pages >= 4003 / PAGE_ROWS);
    spooler_admin_free(a);

    a = request(ADMIN_SHOW); /* also one alone */
    a->filter.ids = must_alloc(sizeof *a->filter.ids);
    a->filter.ids[a->filter.n_ids++] = id;
    run_to_end(w, a);
    assert_int_equal(a->rows_given, 4000);
    spooler_admin_free(a);

    a = request(ADMIN_HOLD);
    run_to_end(w, a);
    assert_int_equal(a->matched, 4003);
    assert_int_equal(a->changed + a->skipped, 4003); /* skipped: with a connection by now */
    for (uint32_t i = 0; i < 4000; i++) {
        const struct recipient *r = &spool_find(w->spool, id)->rcpts[i];
        assert_true(r->active || r->state == RCPT_HELD);
    }
    spooler_admin_free(a);
}

/* A small page looks at no more than it gives, in the order of ids or in another, and the next goes
 * on behind it. */
static void small_pages_cost_little(void **state)
{
    struct world *w = *state;
    core_set_events(w->core, NULL, NULL);
    store_some(w, 300);
    struct spooler_admin *a = request(ADMIN_LIST);
    a->page_rows = 32;
    assert_non_null(step(w, a));
    assert_int_equal(a->n_rows, 32);
    assert_int_equal(a->matched, 32);
    const uint64_t last = a->rows[31].id;
    a->page_rows = 128;
    assert_non_null(step(w, a));
    assert_int_equal(a->n_rows, 128);
    assert_int_equal(a->matched, 160);
    assert_true(a->rows[0].id > last);
    a->page_rows = 10 * PAGE_ROWS;
    run_to_end(w, a);
    assert_int_equal(a->rows_given, 300);
    spooler_admin_free(a);

    a = request(ADMIN_LIST);
    a->page_rows = 32;
    a->sort = SORT_SIZE;
    a->rows_max = 100;
    size_t pages = 0;
    do {
        assert_non_null(step(w, a));
        assert_true(a->n_rows <= 32);
        pages++;
    } while (a->next.id);
    assert_int_equal(a->rows_given, 100);
    assert_true(pages >= 4);
    spooler_admin_free(a);
}

static void limits_and_counts(void **state)
{
    struct world *w = *state;
    core_set_events(w->core, NULL, NULL);
    store_some(w, 700);
    struct spooler_admin *a = request(ADMIN_LIST);
    a->rows_max = 50;
    assert_non_null(step(w, a));
    assert_int_equal(a->n_rows, 50);
    assert_true(a->next.id > a->rows[49].id); /* there is more */
    spooler_admin_free(a);

    a = request(ADMIN_LIST);
    a->rows_max = 0;
    a->count = true;
    run_to_end(w, a);
    assert_int_equal(a->matched, 700);
    assert_int_equal(a->rows_given, 0);
    spooler_admin_free(a);

    /* A dry run counts all, shows some and changes nothing. */
    a = request(ADMIN_REMOVE);
    a->rows_max = 10;
    a->dry_run = true;
    run_to_end(w, a);
    assert_int_equal(a->matched, 700);
    assert_int_equal(a->rows_given, 10);
    assert_int_equal(a->changed, 0);
    spooler_admin_free(a);
    struct spool_counts n;
    spool_count(w->spool, &n);
    assert_int_equal(n.messages, 700);
}

/* One step of one operator a turn, behind the mail. */
static void mail_goes_first(void **state)
{
    struct world *w = *state;
    store_some(w, 3);
    struct spooler_admin *a = request(ADMIN_LIST), *b = request(ADMIN_STATUS);
    give(w, a, SPOOLER_ADMIN);
    give(w, b, SPOOLER_ADMIN);
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    size_t stored = SEEN_MAX, listed = SEEN_MAX;
    for (size_t i = 0; i < w->n; i++) {
        if (w->seen[i].act == CORE_ANSWER && w->seen[i].msg->type == SPOOLER_STORE)
            stored = i;
        if (w->seen[i].act == CORE_ANSWER && w->seen[i].msg == &a->msg)
            listed = i;
        assert_ptr_not_equal(w->seen[i].msg, &b->msg);
    }
    assert_true(stored < listed && listed < w->n);
    forget(w);
    struct wall wall;
    struct mono mono;
    core_deadline(w->core, &wall, &mono);
    assert_true(mono.ms <= w->mono.ms + 3); /* the other one soon */
    /* Mail without a pause holds nobody up for ever. */
    for (int i = 0; !seen(w, CORE_ANSWER, SPOOLER_ADMIN); i++) {
        assert_true(i < 5);
        forget(w);
        store(w, "a@x.test", 1, 0, 0);
        pump_now(w);
        pass(w, 1);
    }
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_ADMIN)->msg, b);
    forget(w);
}

/* Steps run ahead of the disk, but not far, and the end is told when all is on it. */
static void changes_are_bounded_by_the_disk(void **state)
{
    struct world *w = *state;
    core_set_events(w->core, NULL, NULL);
    store_some(w, 3 * ADMIN_UNSYNCED);
    struct spooler_admin *a = request(ADMIN_HOLD);
    w->hold = true; /* from now on no batch comes back */
    unsigned steps = 0;
    while (step(w, a))
        steps++;
    assert_true(steps > 2);
    assert_in_range(a->changed, ADMIN_UNSYNCED, ADMIN_UNSYNCED + 500);
    w->hold = false;
    batch_done(w, w->held);
    pump(w);
    struct core_action *answer = seen(w, CORE_ANSWER, SPOOLER_ADMIN);
    assert_non_null(answer);
    *answer = w->seen[--w->n];
    forget(w);
    run_to_end(w, a);
    assert_int_equal(a->changed, 3 * ADMIN_UNSYNCED);
    assert_true(a->record > 0 && spool_durable(w->spool) >= a->record);
    spooler_admin_free(a);
}

static int64_t sort_key(enum queue_sort sort, const struct queue_row *r)
{
    return sort == SORT_SIZE         ? -(int64_t)r->size
           : sort == SORT_AGE        ? r->queued.us
           : r->state == RCPT_QUEUED ? r->due.us
                                     : INT64_MAX;
}

/* The first rows of a sorted listing are those that sorting all would give. */
static void sorted_listings(void **state)
{
    struct world *w = *state;
    core_set_events(w->core, NULL, NULL);
    for (unsigned i = 0; i < 900; i++) {
        w->now.us += i % 3 == 0 ? -1000 : 700000; /* now and then the clock is set */
        store_to(w, 1 + i % 3);
        pump(w);
        forget(w);
    }
    struct spooler_admin *a = request(ADMIN_HOLD);
    a->filter.to = buf_of(SLICE_LIT("u1@*"));
    run_to_end(w, a);
    spooler_admin_free(a);
    static int64_t all[1800];
    static const uint64_t limits[] = {1, 7, 600, ADMIN_SORT_MAX};
    for (enum queue_sort sort = SORT_DUE; sort <= SORT_SIZE; sort++)
        for (size_t l = 0; l < 4; l++) {
            size_t n = 0, given = 0;
            a = request(ADMIN_LIST);
            do {
                assert_non_null(step(w, a));
                for (size_t i = 0; i < a->n_rows; i++)
                    if (!a->rows[i].active || sort != SORT_DUE)
                        all[n++] = sort_key(sort, &a->rows[i]);
                    else
                        all[n++] = INT64_MAX;
            } while (a->next.id);
            spooler_admin_free(a);
            for (size_t i = 1; i < n; i++) /* insertion sort: stable and plain */
                for (size_t k = i; k > 0 && all[k] < all[k - 1]; k--) {
                    int64_t t = all[k];
                    all[k] = all[k - 1];
                    all[k - 1] = t;
                }
            a = request(ADMIN_LIST);
            a->sort = sort;
            a->rows_max = limits[l];
            do {
                assert_non_null(step(w, a));
                for (size_t i = 0; i < a->n_rows; i++) {
                    bool none = a->rows[i].active && sort == SORT_DUE;
                    assert_int_equal(none ? INT64_MAX : sort_key(sort, &a->rows[i]), all[given++]);
                }
            } while (a->next.id);
            assert_int_equal(given, n < limits[l] ? n : limits[l]);
            assert_int_equal(a->matched, n);
            spooler_admin_free(a);
        }
}

/* While mail comes and goes, what is there throughout is listed once. */
static void a_listing_while_mail_moves(void **state)
{
    struct world *w = *state;
    static uint64_t ids[1500];
    static unsigned times[1500];
    core_set_events(w->core, NULL, NULL);
    for (size_t i = 0; i < 1500; i++) {
        ids[i] = store_to(w, 1);
        pump(w);
        forget(w);
    }
    struct spooler_admin *a = request(ADMIN_LIST);
    size_t gone = 0;
    do {
        assert_non_null(step(w, a));
        for (size_t i = 0; i < a->n_rows; i++)
            for (size_t k = 0; k < 1500; k++)
                times[k] += ids[k] == a->rows[i].id;
        /* Every seventh goes, from both ends; new ones come. */
        struct spooler_admin *r = request(ADMIN_REMOVE);
        r->filter.ids = must_alloc(2 * sizeof *r->filter.ids);
        r->filter.ids[r->filter.n_ids++] = ids[gone * 7];
        r->filter.ids[r->filter.n_ids++] = ids[1499 - gone * 7];
        gone++;
        run_to_end(w, r);
        assert_int_equal(r->changed, 2);
        spooler_admin_free(r);
        store_to(w, 1);
    } while (a->next.id);
    for (size_t k = 0; k < 1500; k++) {
        bool removed =
            (k % 7 == 0 && k / 7 < gone) || ((1499 - k) % 7 == 0 && (1499 - k) / 7 < gone);
        assert_true(removed ? times[k] <= 1 : times[k] == 1);
    }
    spooler_admin_free(a);
}

/* The summary without a walk: the same as counting would give. */
static void summary(void **state)
{
    struct world *w = *state;
    static const int64_t older_s[] = {100000, 50000, 5000, 700, 100, 1};
    struct wall now = w->now;
    core_set_events(w->core, NULL, NULL);
    for (size_t i = 0; i < 6; i++) {
        w->now = (struct wall){now.us - older_s[i] * WALL_SECOND};
        for (size_t k = 0; k <= i; k++)
            store_to(w, 1);
        pump_now(w);
        forget(w);
    }
    w->now = now;
    struct spooler_admin *a = request(ADMIN_QUEUE);
    run_to_end(w, a);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(a->totals.age_buckets[i], 6 - i);
    assert_int_equal(a->totals.messages, 21);
    assert_int_equal((now.us - a->totals.oldest.us) / WALL_SECOND, 100000);
    assert_int_equal(a->totals.errors[0].n, 0);
    spooler_admin_free(a);
}

static void tally_keeps_the_most(void **state)
{
    (void)state;
    struct error_tally *t = NULL;
    struct queue_totals top = {0};
    char text[32];
    /* 3,000 different ones, each with a number of its own; one reply in two forms; one told twice.
     */
    for (uint64_t i = 1; i <= 3000; i++) {
        uint64_t n = i * 7 % 3001;
        int length = snprintf(text, sizeof text, "reply %llu", (unsigned long long)n);
        error_tally_add(
            &t, &(struct spool_reply){slice_of(text, (size_t)length), VERDICT_DEFERRED, i, n});
    }
    error_tally_add(&t, &(struct spool_reply){SLICE_LIT("two"), VERDICT_DEFERRED, 5001, 2999});
    error_tally_add(&t, &(struct spool_reply){SLICE_LIT("two"), VERDICT_DEFERRED, 5002, 2998});
    error_tally_add(&t, &(struct spool_reply){SLICE_LIT("two"), VERDICT_DEFERRED, 5002, 2998});
    error_tally_top(t, &top);
    static const struct {
        const char *text;
        uint64_t n;
    } want[] = {{"two", 5997},
                {"reply 3000", 3000},
                {"reply 2999", 2999},
                {"reply 2998", 2998},
                {"reply 2997", 2997}};
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(buf_str(&top.errors[i].text), want[i].text);
        assert_int_equal(top.errors[i].n, want[i].n);
        buf_done(&top.errors[i].text);
    }
    error_tally_free(t);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_great_message_is_several_pages),
        TEST(limits_and_counts),
        TEST(mail_goes_first),
        TEST(changes_are_bounded_by_the_disk),
        TEST(a_listing_while_mail_moves),
        TEST(small_pages_cost_little),
        TEST(sorted_listings),
        TEST(summary),
        cmocka_unit_test(tally_keeps_the_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
