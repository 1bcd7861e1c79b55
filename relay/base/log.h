/*
 * The program's own log: logfmt lines on standard error, one a fact: `time=… level=info
 * event=listening address=…`. Values are quoted and control bytes escaped, so nothing of a peer's
 * becomes structure. Library rooms (queue, dns, mail, smtp, tls) never log: they return; the edge
 * says it once. Thread-safe; one write(2) a line.
 */
#pragma once
#include "relay/base/slice.h"

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

void log_set_level(enum log_level level);
bool log_level_parse(struct slice name, enum log_level *ret);
void log_write(enum log_level level, const char *event, const struct log_field *fields);
