/* The scheduler's laws under chance: whatever comes, limits hold, nothing is lent twice, and all
 * goes out in the end. */
#include "tests/unit/queue/sched_world.h"

struct conn_model {
    struct sched_action job, ahead;
    bool open, busy;
    bool offers, has_ahead; /* one more, before the first is over */
    char site;
};

struct model {
    struct world w;
    struct rng rng;
    struct conn_model conns[2000];
    unsigned open_at[3], delivered, total, given_ahead, given_back;
    uint64_t last_conn;
    bool broken; /* site 'c' answers nobody */
};

static const char *const domains[] = {"a1.test", "a2.test", "b1.test", "c1.test", "none.test"};

static bool chance(struct model *m, unsigned percent)
{
    return rng_below(&m->rng, 100) < percent;
}

static void take_job(struct model *m, const struct sched_action *a)
{
    struct conn_model *c = &m->conns[a->conn];
    /* One job on a connection, and one more where it was asked for. */
    assert_true(!c->busy || (c->offers && !c->has_ahead));
    if (c->busy) {
        c->has_ahead = true;
        c->ahead = *a;
        m->given_ahead++;
    } else {
        c->job = *a;
    }
    c->offers = false;
    c->busy = true;
    for (size_t i = 0; i < a->job.n; i++) {
        assert_ptr_equal(recipient_message(a->job.rcpts[i]), a->job.message);
        assert_true(a->job.rcpts[i]->active && a->job.rcpts[i]->due.us <= m->w.now.us);
        assert_int_equal(a->job.rcpts[i]->state, RCPT_QUEUED);
    }
}

static void model_fail(void *ctx, struct recipient *r)
{
    struct model *m = ctx;
    r->due = wall_add_s(m->w.now, 5);
    r->attempts++;
    sched_add(m->w.s, r);
}

static void model_act(struct model *m, const struct sched_action *a)
{
    char domain[64], site[2] = {0};
    switch (a->act) {
    case SCHED_RESOLVE:
        assert_true(a->domain.n < sizeof domain);
        memcpy(domain, a->domain.p, a->domain.n);
        domain[a->domain.n] = 0;
        site[0] = domain[0];
        if (domain[0] == 'n' && chance(m, 60))
            sched_plan_failed(m->w.s, slice_str(domain), model_fail, m);
        else
            sched_plan(m->w.s, slice_str(domain), slice_str(site[0] == 'n' ? "a" : site),
                       SLICE_LIT("d"), &m->w.limits, &m->w.plan,
                       mono_add(m->w.mono, (int64_t)rng_below(&m->rng, 20000)), m->w.mono);
        return;
    case SCHED_OPEN:
        assert_true(a->conn > m->last_conn && a->conn < 2000);
        m->last_conn = a->conn;
        m->conns[a->conn].open = true;
        m->conns[a->conn].site = (char)a->site.p[0];
        m->open_at[a->site.p[0] - 'a']++;
        /* Never more than the limit; that the window holds is seen by its own test. */
        assert_true(m->open_at[a->site.p[0] - 'a'] <= m->w.limits.connections);
        take_job(m, a);
        return;
    case SCHED_WORK:
        assert_true(m->conns[a->conn].open);
        assert_int_equal(m->conns[a->conn].site, a->site.p[0]);
        take_job(m, a);
        return;
    case SCHED_CLOSE:
        assert_true(m->conns[a->conn].open && !m->conns[a->conn].busy);
        m->open_at[m->conns[a->conn].site - 'a']--;
        m->conns[a->conn].open = false;
        sched_conn_gone(m->w.s, a->conn, m->w.mono);
        return;
    case SCHED_LATE:
    case SCHED_EXPIRE:
        fail_msg("nothing is old here");
    }
}

static void give_back(struct model *m, struct conn_model *c)
{
    if (!c->has_ahead)
        return;
    finish(&c->ahead);
    for (size_t i = 0; i < c->ahead.job.n; i++)
        sched_add(m->w.s, c->ahead.job.rcpts[i]);
    c->has_ahead = false;
    m->given_back++;
}

static void model_finish(struct model *m, struct conn_model *c)
{
    bool fails = c->site == 'c' ? m->broken : chance(m, 10);
    finish(&c->job);
    c->busy = c->offers = false;
    for (size_t i = 0; i < c->job.job.n; i++) {
        struct recipient *r = c->job.job.rcpts[i];
        if (fails || chance(m, 10)) {
            model_fail(m, r);
        } else {
            r->state = RCPT_DELIVERED;
            m->delivered++;
        }
    }
    uint64_t conn = c->job.conn;
    sched_feedback(m->w.s, conn, fails ? SCHED_UNREACHABLE : SCHED_OK, 0, m->w.mono);
    if (!fails && chance(m, 70)) {
        sched_conn_ready(m->w.s, conn, m->w.mono);
        c->busy = c->has_ahead;
        c->job = c->ahead;
        c->has_ahead = false;
        return;
    }
    give_back(m, c);
    c->open = false;
    m->open_at[c->site - 'a']--;
    sched_conn_gone(m->w.s, conn, m->w.mono);
}

static void model_round(struct model *m, bool adding)
{
    struct sched_action a;
    static const char *const users[] = {"", "u1", "u2"};
    if (adding && m->w.n_messages < 300 && chance(m, 60)) {
        unsigned n = 1 + (unsigned)rng_below(&m->rng, 6);
        m->w.priority = (int8_t)((int)rng_below(&m->rng, 19) - 9);
        m->w.route = chance(m, 20) ? "way" : NULL;
        struct message *added =
            add(&m->w, users[rng_below(&m->rng, 3)], domains[rng_below(&m->rng, 5)], n);
        m->total += n;
        if (chance(m, 5)) { /* an operator takes one away and gives it back later */
            sched_remove(m->w.s, &added->rcpts[0]);
            model_fail(m, &added->rcpts[0]);
        }
    }
    while (next(&m->w, &a))
        model_act(m, &a);
    for (uint64_t i = 1; i <= m->last_conn; i++) {
        struct conn_model *c = &m->conns[i];
        if (c->busy && !c->has_ahead && chance(m, 50)) {
            c->offers = true;
            sched_conn_ahead(m->w.s, i);
        } else if (c->has_ahead && chance(m, 10)) {
            give_back(m, c);
            sched_conn_back(m->w.s, i);
        } else if (c->busy && chance(m, 60)) {
            model_finish(m, c);
        }
    }
    pass(&m->w, (int64_t)rng_below(&m->rng, 1500));
}

/* Whatever happens: limits hold, nothing is lent twice, and in the end everything has gone out. */
static void laws_hold_under_chance(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct model *m = must_alloc(sizeof *m);
        world_init(&m->w, 1 + (unsigned)seed % 4);
        m->w.limits.messages_per_connection = seed % 3 ? 5 : 0;
        m->w.limits.recipients_per_message = seed % 2 ? 2 : 100;
        rng_seed(&m->rng, seed);
        m->broken = true;
        for (int i = 0; i < 400; i++)
            model_round(m, true);
        m->broken = false;
        for (int i = 0; i < 40000 && m->delivered < m->total; i++)
            model_round(m, false);
        if (m->delivered != m->total)
            print_error("seed %llu: %u of %u\n", (unsigned long long)seed, m->delivered, m->total);
        assert_int_equal(m->delivered, m->total);
        uint64_t ready, waiting;
        sched_count(m->w.s, &ready, &waiting);
        assert_int_equal(ready + waiting, 0);
        assert_true(m->given_ahead > 0 && m->given_back > 0);
        world_done(&m->w);
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(laws_hold_under_chance)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
