/* Counters: the only shared atomics of the house. A new one is a row in metrics.def. */
#pragma once
#include <stdint.h>

enum metric {
#define X(name, text, kind, help) M_##name,
#include "relay/base/metrics.def"
#undef X
    M_COUNT
};

void metric_add(enum metric m, int64_t n);
int64_t metric_get(enum metric m);
const char *metric_name(enum metric m);
const char *metric_kind(enum metric m);
const char *metric_help(enum metric m);
