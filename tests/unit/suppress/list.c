/* Who gets on the list, and who does not: counted within days, by user, forgiven by a delivery. */
#include "tests/unit/suppress/kit.h"

/* As many as the policy says, of this user, within the time. */
static void the_last_bounce_lists(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &two_in_a_month, NULL);
    kit_bounce(s, 1, "shop", "bob@rcpt.test", -31 * DAY);
    kit_bounce(s, 2, "shop", "bob@rcpt.test", 0); /* the first has run out */
    kit_bounce(s, 3, "news", "bob@rcpt.test", 0); /* another one's */
    assert_false(kit_is_listed(s, "shop", "bob@rcpt.test"));
    kit_bounce(s, 4, "shop", "Bob@Rcpt.test", 0);
    assert_true(kit_is_listed(s, "shop", "bob@rcpt.test"));
    assert_true(kit_is_listed(s, "shop", "BOB@RCPT.TEST"));
    assert_false(kit_is_listed(s, "news", "bob@rcpt.test"));
    assert_false(kit_is_listed(s, "", "bob@rcpt.test"));
    assert_false(kit_is_listed(s, "shop", "bob@other.test"));
    struct suppress_found f;
    assert_true(suppress_find(s, SLICE_LIT("shop"), SLICE_LIT("bob@rcpt.test"), &f));
    assert_string_equal(f.reason, "550 5.1.1 no such user");
    assert_int_equal(f.source, SUPPRESS_BY_BOUNCES);
    suppress_free(s);
    fake_disk_free(d);
}

static void everybody_s(void **state)
{
    const struct suppress_policy p = {.bounces = 2, .within_s = DAY};
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &p, NULL);
    kit_bounce(s, 1, "shop", "bob@rcpt.test", 0);
    kit_bounce(s, 2, NULL, "bob@rcpt.test", 0);
    assert_true(kit_is_listed(s, "news", "bob@rcpt.test"));
    assert_true(kit_is_listed(s, "", "bob@rcpt.test"));
    suppress_free(s);
    fake_disk_free(d);
}

/* A domain past ASCII and its ASCII form lead to one mailbox, whoever wrote which. What IDNA knows
 * no form of is told apart by its bytes. */
static void a_domain_has_two_forms(void **state)
{
    static const char *const both[] = {"bob@b\u00fccher.test", "bob@xn--bcher-kva.test"};
    const struct slice none = SLICE_NONE;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fake_disk *d = fake_disk_new(1);
        struct suppress *s = kit_open(d, &two_in_a_month, NULL);
        kit_bounce(s, 1, "shop", both[i], 0);
        kit_bounce(s, 2, "shop", both[1 - i], 0);
        assert_true(kit_is_listed(s, "shop", both[0]));
        assert_true(kit_is_listed(s, "shop", both[1]));
        assert_true(kit_is_listed(s, "shop", "BOB@B\u00dcCHER.TEST"));
        assert_int_equal(suppress_remove(s, SLICE_LIT("shop"), slice_str(both[i])), 1);
        assert_false(kit_is_listed(s, "shop", both[1]));
        assert_int_equal(suppress_add(s, none, slice_skip(slice_str(both[i]), 3), none,
                                      SUPPRESS_BY_OPERATOR, (struct wall){1}),
                         1);
        assert_true(kit_is_listed(s, "", both[1 - i]));
        assert_int_equal(suppress_add(s, none, slice_skip(slice_str(both[1 - i]), 3), none,
                                      SUPPRESS_BY_OPERATOR, (struct wall){1}),
                         0);
        assert_int_equal(suppress_add(s, none, SLICE_LIT("bob@\u2603.test"), none,
                                      SUPPRESS_BY_OPERATOR, (struct wall){1}),
                         1);
        assert_true(kit_is_listed(s, "", "bob@\u2603.test"));
        assert_false(kit_is_listed(s, "", "bob@\u2604.test"));
        suppress_free(s);
        fake_disk_free(d);
    }
}

/* What says nothing of the mailbox counts for nothing. */
static void which_failures_count(void **state)
{
    static const struct {
        enum event_name name;
        const char *class;
        bool counts;
    } rows[] = {
        {EVENT_BOUNCED, "bad_mailbox", true},   {EVENT_BOUNCED, "bad_domain", true},
        {EVENT_BOUNCED, "full", false},         {EVENT_BOUNCED, "spam", false},
        {EVENT_BOUNCED, "policy", false},       {EVENT_BOUNCED, "block", false},
        {EVENT_BOUNCED, "admin", false},        {EVENT_BOUNCED, NULL, false},
        {EVENT_DEFERRED, "bad_mailbox", false}, {EVENT_EXPIRED, "bad_domain", false},
        {EVENT_REJECTED, "bad_mailbox", false}, {EVENT_CANCELLED, "bad_mailbox", false},
    };
    const struct suppress_policy first = {.bounces = 1, .within_s = DAY};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fake_disk *d = fake_disk_new(1);
        struct suppress *s = kit_open(d, &first, NULL);
        kit_tell(s, &(struct kit_event){rows[i].name, i + 1, NULL, "bob@rcpt.test", rows[i].class,
                                        "no", 0});
        assert_int_equal(kit_is_listed(s, "", "bob@rcpt.test"), rows[i].counts);
        suppress_free(s);
        fake_disk_free(d);
    }
}

static void a_delivery_forgives(void **state)
{
    static const enum event_name names[] = {EVENT_DELIVERED, EVENT_RELAYED};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fake_disk *d = fake_disk_new(1);
        struct suppress *s = kit_open(d, &two_in_a_month, NULL);
        kit_bounce(s, 1, "shop", "bob@rcpt.test", 0);
        kit_tell(s, &(struct kit_event){names[i], 2, "shop", "bob@rcpt.test", NULL, NULL, 0});
        kit_bounce(s, 3, "shop", "bob@rcpt.test", 0);
        assert_false(kit_is_listed(s, "shop", "bob@rcpt.test"));
        kit_bounce(s, 4, "shop", "bob@rcpt.test", 0);
        assert_true(kit_is_listed(s, "shop", "bob@rcpt.test"));
        /* Sent before it was listed, and delivered after: no way off the list. */
        kit_tell(s, &(struct kit_event){names[i], 5, "shop", "bob@rcpt.test", NULL, NULL, 0});
        assert_true(kit_is_listed(s, "shop", "bob@rcpt.test"));
        suppress_free(s);
        fake_disk_free(d);
    }
}

/* Off by default; told again after a crash is not told twice. */
static void none_count_when_none_should(void **state)
{
    const struct suppress_policy off = {.bounces = 0, .within_s = DAY};
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &off, NULL);
    for (uint64_t i = 1; i < 30; i++)
        kit_bounce(s, i, NULL, "bob@rcpt.test", 0);
    assert_int_equal(suppress_count(s), 0);
    suppress_set_policy(s, &two_in_a_month);
    for (unsigned i = 0; i < 5; i++)
        kit_bounce(s, 30, NULL, "bob@rcpt.test", 0);
    assert_int_equal(suppress_count(s), 0);
    kit_bounce(s, 31, NULL, "bob@rcpt.test", 0);
    assert_int_equal(suppress_count(s), 1);
    suppress_free(s);
    fake_disk_free(d);
}

static void by_hand(void **state)
{
    const struct slice none = SLICE_NONE, shop = SLICE_LIT("shop"), why = SLICE_LIT("asked to");
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &two_in_a_month, NULL);
    const struct wall then = {INT64_C(1700000000) * WALL_SECOND};
    assert_int_equal(
        suppress_add(s, shop, SLICE_LIT("Ann@rcpt.test"), why, SUPPRESS_BY_OPERATOR, then), 1);
    assert_int_equal(
        suppress_add(s, shop, SLICE_LIT("ann@RCPT.test"), why, SUPPRESS_BY_OPERATOR, then), 0);
    assert_int_equal(
        suppress_add(s, none, SLICE_LIT("@dead.test"), why, SUPPRESS_BY_OPERATOR, then), 1);
    assert_true(kit_is_listed(s, "shop", "ann@rcpt.test"));
    assert_false(kit_is_listed(s, "news", "ann@rcpt.test"));
    assert_true(kit_is_listed(s, "news", "anybody@dead.test"));
    assert_false(kit_is_listed(s, "news", "anybody@sub.dead.test"));
    assert_false(kit_is_listed(s, "news", "anybody@undead.test"));
    assert_int_equal(suppress_remove(s, none, SLICE_LIT("ann@rcpt.test")), 0);
    assert_int_equal(suppress_remove(s, shop, SLICE_LIT("ann@rcpt.test")), 1);
    assert_false(kit_is_listed(s, "shop", "ann@rcpt.test"));
    /* What is counted is not listed, and cannot be removed. */
    kit_bounce(s, 1, "shop", "bob@rcpt.test", 0);
    assert_int_equal(suppress_remove(s, shop, SLICE_LIT("bob@rcpt.test")), 0);
    static const char *const bad[] = {"", "a\tb@rcpt.test", "a\nb@rcpt.test", "\xff@rcpt.test"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(suppress_add(s, none, slice_str(bad[i]), why, SUPPRESS_BY_OPERATOR, then),
                         -EINVAL);
    suppress_free(s);
    fake_disk_free(d);
}

/* What bounces put there goes after `keep`, what a person put there stays. */
static void some_run_out(void **state)
{
    const struct suppress_policy p = {.bounces = 1, .within_s = DAY, .keep_s = 10 * DAY};
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &p, NULL);
    const struct wall then = {wall_now().us - 20 * DAY * WALL_SECOND};
    kit_bounce(s, 1, NULL, "old@rcpt.test", -11 * DAY);
    kit_bounce(s, 2, NULL, "young@rcpt.test", -9 * DAY);
    suppress_add(s, SLICE_NONE, SLICE_LIT("hand@rcpt.test"), SLICE_NONE, SUPPRESS_BY_OPERATOR,
                 then);
    assert_false(kit_is_listed(s, "", "old@rcpt.test"));
    assert_true(kit_is_listed(s, "", "young@rcpt.test"));
    assert_true(kit_is_listed(s, "", "hand@rcpt.test"));
    kit_bounce(s, 3, NULL, "old@rcpt.test", 0); /* tried once more, and once more in vain */
    assert_true(kit_is_listed(s, "", "old@rcpt.test"));
    suppress_free(s);
    fake_disk_free(d);
}

static void a_walk_sees_each_once(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &two_in_a_month, NULL);
    char name[64];
    enum { N = 5000 };
    static unsigned seen[N];
    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof name, "u%u@rcpt.test", i);
        suppress_add(s, SLICE_NONE, slice_str(name), SLICE_NONE, SUPPRESS_BY_OPERATOR,
                     (struct wall){0});
    }
    struct suppress_name rows[7];
    size_t at = 0, n, total = 0;
    bool more = true;
    while (more) {
        more = suppress_page(s, &at, rows, 7, &n);
        for (size_t i = 0; i < n; i++)
            seen[strtoul(rows[i].address + 1, NULL, 10)]++;
        if (total == 0) /* one that is not reached yet goes in the middle of the walk */
            assert_int_equal(suppress_remove(s, SLICE_NONE, SLICE_LIT("u4000@rcpt.test")), 1);
        total += n;
    }
    assert_int_equal(total, N - 1);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(seen[i], i != 4000);
    suppress_free(s);
    fake_disk_free(d);
}

/* A million names that each bounce once do not fill the memory: the oldest counts go. */
static void counts_are_bounded(void **state)
{
    (void)state;
    struct suppress_list *l = suppress_list_new();
    char name[64];
    for (unsigned i = 0; i < SUPPRESS_COUNTED_MAX + 100; i++) {
        snprintf(name, sizeof name, "u%u@rcpt.test", i);
        assert_true(suppress_list_apply(l, &(struct suppress_line){.kind = SUPPRESS_BOUNCED,
                                                                   .seq = i + 1,
                                                                   .time = {i + 1},
                                                                   .address = slice_str(name)}));
    }
    assert_int_equal(suppress_list_counted(l), SUPPRESS_COUNTED_MAX);
    assert_false(suppress_list_is_counted(l, SLICE_NONE, SLICE_LIT("u99@rcpt.test")));
    assert_true(suppress_list_is_counted(l, SLICE_NONE, SLICE_LIT("u100@rcpt.test")));
    suppress_list_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_bounce_lists),
        cmocka_unit_test(everybody_s),
        cmocka_unit_test(a_domain_has_two_forms),
        cmocka_unit_test(which_failures_count),
        cmocka_unit_test(a_delivery_forgives),
        cmocka_unit_test(none_count_when_none_should),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(some_run_out),
        cmocka_unit_test(a_walk_sees_each_once),
        cmocka_unit_test(counts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
