/*
 * The program's own log: logfmt lines on standard error, one a fact: `time=… level=info
 * event=listening address=…`. Values are quoted and control bytes escaped, so nothing of a peer's
 * becomes structure. Library rooms (queue, dns, mail, smtp, tls) never log: they return; the edge
 * says it once. Thread-safe; one write(2) a line.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/slice.h"
#include <stdatomic.h>

enum log_level { LV_ERROR, LV_WARN, LV_INFO, LV_DEBUG };

struct log_field {
    const char *key; /* NULL ends the list */
    struct slice text;
    int64_t number;
    bool is_number;
};

#define LOG_S(k, cstr) ((struct log_field){.key = (k), .text = slice_str(cstr)})
#define LOG_B(k, slice_value) ((struct log_field){.key = (k), .text = (slice_value)})
#define LOG_N(k, n) ((struct log_field){.key = (k), .number = (int64_t)(n), .is_number = true})
/* LOG(LV_INFO, "listening", LOG_S("address", text), LOG_N("port", 25)); at least one field. */
#define LOG(level, event, ...)                                                                     \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__, {0}})

/* For lines that a stranger causes, so that he does not fill the disk with them: so many of one
 * place in the code a minute (more by a few when threads meet). The first of the next minute says
 * in `left_out` how many were not written; what must be known of each is a counter's business.
 *   static struct log_limit limit = LOG_LIMIT(10);
 *   LOG_FEW(&limit, LV_WARN, "odd_caller", LOG_S("client_ip", text)); */
struct log_limit {
    const unsigned a_minute;
    atomic_llong until_ms; /* of the minute under way */
    atomic_uint written, left_out;
};
#define LOG_LIMIT(n)                                                                               \
    {                                                                                              \
        .a_minute = (n)                                                                            \
    }
/* *ret_left_out: before this one, to be told with it. */
bool log_limit_passes(struct log_limit *l, struct mono now, unsigned *ret_left_out);
#define LOG_FEW(limit, level, event, ...)                                                          \
    do {                                                                                           \
        unsigned left_out_;                                                                        \
        if (!log_limit_passes((limit), mono_now(), &left_out_))                                    \
            break;                                                                                 \
        if (left_out_)                                                                             \
            LOG(level, event, __VA_ARGS__, LOG_N("left_out", left_out_));                          \
        else                                                                                       \
            LOG(level, event, __VA_ARGS__);                                                        \
    } while (0)

void log_set_level(enum log_level level);
bool log_level_parse(struct slice name, enum log_level *ret);
void log_write(enum log_level level, const char *event, const struct log_field *fields);
