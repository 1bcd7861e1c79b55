#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include <stdalign.h>
#include <stdatomic.h>

/* One cache line each: threads count different things at the same time. */
struct counter {
    alignas(64) _Atomic int64_t value;
};
static struct counter counters[M_COUNT];

static const struct {
    const char *name, *kind, *help;
} rows[M_COUNT] = {
#define X(name, text, kind, help) [M_##name] = {text, kind, help},
#include "relay/base/metrics.def"
#undef X
};

void metric_add(enum metric m, int64_t n)
{
    MUST((unsigned)m < M_COUNT);
    atomic_fetch_add_explicit(&counters[m].value, n, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
    MUST((unsigned)m < M_COUNT);
    return atomic_load_explicit(&counters[m].value, memory_order_relaxed);
}

const char *metric_name(enum metric m)
{
    MUST((unsigned)m < M_COUNT);
    return rows[m].name;
}

const char *metric_kind(enum metric m)
{
    MUST((unsigned)m < M_COUNT);
    return rows[m].kind;
}

const char *metric_help(enum metric m)
{
    MUST((unsigned)m < M_COUNT);
    return rows[m].help;
}
