/* resolver_plan: a plan_maker's questions given to a resolver. Answers may come while questions are
 * still being asked (cache): `is_asking` keeps that flat. */
#include "dns/resolver.h"
#include "relay/base/must.h"
#include <stdlib.h>

struct planning {
    struct resolver *r;
    struct loop *loop;
    struct plan_maker *maker;
    void (*fn)(void *ctx, struct plan *p);
    void *ctx;
    struct mono began;
    bool is_asking;
};

struct asked {
    struct planning *planning;
    struct plan_question q;
};

static void on_answer(void *ctx, struct dns_answer *a);

static void go_on(struct planning *p)
{
    struct plan_question q;
    if (p->is_asking)
        return;
    p->is_asking = true;
    while (plan_maker_next(p->maker, &q)) {
        struct asked *asked = must_alloc(sizeof *asked);
        *asked = (struct asked){p, q};
        resolver_ask(p->r, slice_str(q.name), q.type, on_answer, asked);
    }
    p->is_asking = false;
    struct plan *plan = plan_maker_done(p->maker);
    if (!plan)
        return;
    plan->dns_ms = (int32_t)(loop_now(p->loop).ms - p->began.ms);
    p->fn(p->ctx, plan);
    plan_maker_free(p->maker);
    free(p);
}

static void on_answer(void *ctx, struct dns_answer *a)
{
    struct asked *asked = ctx;
    struct planning *p = asked->planning;
    plan_maker_answer(p->maker, &asked->q, a);
    free(asked);
    go_on(p);
}

void resolver_plan(struct resolver *r, struct plan_maker *m, void (*fn)(void *ctx, struct plan *p),
                   void *ctx)
{
    struct planning *p = must_alloc(sizeof *p);
    struct loop *l = resolver_loop(r);
    *p = (struct planning){
        .r = r, .loop = l, .maker = m, .fn = fn, .ctx = ctx, .began = loop_now(l)};
    go_on(p);
}
