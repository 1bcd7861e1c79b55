/* 77, 78, 79: what a refusal says about the whole site. Too much, and one strict receiver of one
 * mailbox stops everybody's mail; too little, and we are blocked. */
#include "relay/spooler/feedback.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Scope and class as relay/smtp/trouble.c gives them. */
#define DEFERRED(phase_, scope_, class_, code_)                                                    \
    {                                                                                              \
        .kind = VERDICT_DEFERRED, .phase = PHASE_##phase_, .scope = SCOPE_##scope_,                \
        .class = CLASS_##class_, .code = (code_), .enhanced = {                                    \
            4,                                                                                     \
            7,                                                                                     \
            1                                                                                      \
        }                                                                                          \
    }
#define DELIVERED                                                                                  \
    {                                                                                              \
        .kind = VERDICT_DELIVERED                                                                  \
    }
#define OURS(phase_)                                                                               \
    {                                                                                              \
        .kind = VERDICT_DEFERRED, .fault = FAULT_LOCAL, .phase = PHASE_##phase_                    \
    }

enum { SAYS_NOTHING = 99 };

static const struct row {
    const char *what, *text; /* of the deferred ones */
    struct verdict v[2];
    unsigned n;
    uint32_t attempts; /* before this one */
    int outcome;
    int64_t after_s;
} rows[] = {
    {"delivered", "", {DELIVERED}, 1, 0, SCHED_OK, 0},
    {"refused for ever", "", {{.kind = VERDICT_FAILED, .code = 550}}, 1, 0, SCHED_OK, 0},
    {"a mailbox is full", "full", {DEFERRED(RCPT, RECIPIENT, FULL, 452)}, 1, 0, SCHED_OK, 0},
    {"a host in trouble", "", {DEFERRED(CONNECT, HOST, NETWORK, 0)}, 1, 0, SCHED_UNREACHABLE, 0},
    {"no TLS where it must be", "", {DEFERRED(STARTTLS, HOST, TLS, 0)}, 1, 0, SCHED_UNREACHABLE, 0},
    {"one delivered, then lost",
     "",
     {DELIVERED, DEFERRED(RCPT, HOST, NETWORK, 0)},
     2,
     0,
     SCHED_OK,
     0},
    {"ours: nobody can be called", "", {OURS(CONNECT)}, 1, 0, SCHED_OURS, 0},
    {"ours: no Maildir", "", {OURS(NONE), OURS(NONE)}, 2, 0, SCHED_OURS, 0},
    {"ours: this content", "", {OURS(DATA)}, 1, 0, SAYS_NOTHING, 0},
    {"ours, and a host in trouble",
     "",
     {OURS(CONNECT), DEFERRED(RCPT, HOST, NETWORK, 0)},
     2,
     0,
     SCHED_UNREACHABLE,
     0},
    {"one connection too many",
     "too many connections, retry in 2 min",
     {DEFERRED(BANNER, SITE, RATE, 421)},
     1,
     0,
     SCHED_REFUSED,
     120},
    {"421 without words", "bye", {DEFERRED(BANNER, HOST, OTHER, 421)}, 1, 0, SCHED_REFUSED, 0},
    {"too fast at MAIL", "slow down", {DEFERRED(MAIL, SITE, RATE, 450)}, 1, 0, SCHED_THROTTLED, 0},
    {"too fast at RCPT", "rate limit", {DEFERRED(RCPT, SITE, RATE, 451)}, 1, 0, SCHED_THROTTLED, 0},
    {"too fast for one of two",
     "too many, wait 30 seconds",
     {DELIVERED, DEFERRED(RCPT, SITE, RATE, 451)},
     2,
     3,
     SCHED_THROTTLED,
     30},
    {"greylisted", "try again later", {DEFERRED(RCPT, SITE, RATE, 451)}, 1, 0, SCHED_OK, 0},
    {"greylisted after the content", "later", {DEFERRED(EOD, SITE, RATE, 451)}, 1, 0, SCHED_OK, 0},
    {"the same at the second attempt",
     "try again later",
     {DEFERRED(RCPT, SITE, RATE, 451)},
     1,
     1,
     SCHED_THROTTLED,
     0},
    {"421 is no greylist", "later", {DEFERRED(RCPT, SITE, RATE, 421)}, 1, 0, SCHED_THROTTLED, 0},
};

static void each_attempt_says_what_it_says(void **state)
{
    (void)state;
    struct envelope_rcpt to[] = {{.address = SLICE_LIT("a@x")}, {.address = SLICE_LIT("b@x")}};
    struct message *m =
        message_new(1, &(struct envelope){.rcpts = to, .n_rcpts = 2}, (struct wall){0}, NULL, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t numbers[] = {0, 1};
        struct verdict v[2] = {rows[i].v[0], rows[i].v[1]};
        for (unsigned k = 0; k < rows[i].n; k++)
            if (v[k].kind == VERDICT_DEFERRED)
                verdict_set_text(&v[k], slice_str(rows[i].text));
        struct spooler_result r = {
            .n = rows[i].n, .rcpts = numbers, .verdicts = v, .attempted = true};
        struct feedback f = {0};
        const struct verdict heard = {.kind = VERDICT_DEFERRED, .phase = PHASE_RCPT};
        const struct last_reply last = {.verdict = &heard};
        m->rcpts[0].last = m->rcpts[1].last = rows[i].attempts ? &last : NULL;
        bool says = feedback_of(m, &r, &f);
        if ((says ? (int)f.outcome : SAYS_NOTHING) != rows[i].outcome ||
            f.after_s != rows[i].after_s)
            fail_msg("%s: %d, %lld s", rows[i].what, says ? (int)f.outcome : SAYS_NOTHING,
                     (long long)f.after_s);
        verdict_done(&v[0]);
        verdict_done(&v[1]);
    }
    free(m);
}

/* 75: our login is refused everywhere. The whole destination waits until it may be tried again, be
 * it told by the job that was refused or by one that found it so and goes back untouched. */
static void a_refused_login_speaks_for_the_site(void **state)
{
    (void)state;
    struct verdict v = DEFERRED(AUTH, HOST, AUTH, 535);
    uint32_t number = 0;
    for (unsigned tried = 0; tried < 2; tried++) {
        struct spooler_result r = {.n = 1, .rcpts = &number, .attempted = tried};
        struct feedback f = {0};
        r.verdicts = tried ? &v : NULL;
        r.barred_ms = 59001;
        assert_true(feedback_of(NULL, &r, &f));
        assert_int_equal(f.outcome, SCHED_BARRED);
        assert_int_equal(f.after_s, 60); /* not a moment too early */
    }
    struct spooler_result untouched = {.n = 1, .rcpts = &number};
    struct feedback f = {0};
    assert_false(feedback_of(NULL, &untouched, &f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_attempt_says_what_it_says),
        cmocka_unit_test(a_refused_login_speaks_for_the_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
