#include "relay/base/log.h"
#include "relay/base/clock.h"
#include "relay/base/utf8.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* A line is at most PIPE_BUF bytes, so that a pipe takes it whole or not at all between other
 * writers. */
enum { LINE_MAX_BYTES = 4096, VALUE_MAX_BYTES = 1024, TAIL_BYTES = sizeof " cut=true\n" };

static atomic_int max_level = LV_INFO;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

bool log_level_parse(struct slice name, enum log_level *ret)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (slice_ieq(name, slice_str(level_names[i]))) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static bool is_bare(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\')
            return false;
    return s.n > 0;
}

/* One character of a quoted value as it stands in the line; returns how many bytes of s it took. */
static size_t escape(struct slice s, char ret_text[8])
{
    uint32_t code = 0;
    size_t n = utf8_char(s, &code);
    if (n == 0) {
        snprintf(ret_text, 8, "\\x%02x", s.p[0]);
        return 1;
    }
    if (code == '"' || code == '\\')
        snprintf(ret_text, 8, "\\%c", (int)code);
    else if (code == '\n' || code == '\r' || code == '\t')
        snprintf(ret_text, 8, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    else if (utf8_is_control(code))
        snprintf(ret_text, 8, "\\u%04x", code & 0xffff);
    else {
        memcpy(ret_text, s.p, n);
        ret_text[n] = 0;
    }
    return n;
}

static void add_value(struct buf *line, struct slice s)
{
    if (is_bare(s) && s.n <= VALUE_MAX_BYTES) {
        buf_add(line, s);
        return;
    }
    size_t start = line->n;
    buf_add_u8(line, '"');
    while (s.n) {
        char text[8];
        size_t took = escape(s, text);
        if (line->n - start + strlen(text) > VALUE_MAX_BYTES) {
            buf_add_str(line, "...");
            break;
        }
        buf_add_str(line, text);
        s = slice_skip(s, took);
    }
    buf_add_u8(line, '"');
}

static void add_field(struct buf *line, const struct log_field *f)
{
    buf_addf(line, " %s=", f->key);
    if (f->is_number)
        buf_addf(line, "%lld", (long long)f->number);
    else
        add_value(line, f->text);
}

/* A field that no longer fits is left out whole, and the line says so. */
static void add_fields(struct buf *line, const struct log_field *f)
{
    bool cut = false;
    for (; f->key; f++) {
        size_t before = line->n;
        add_field(line, f);
        if (line->overflow || line->n > LINE_MAX_BYTES - TAIL_BYTES) {
            buf_cut(line, before);
            line->overflow = false;
            cut = true;
        }
    }
    if (cut)
        buf_add_str(line, " cut=true");
}

static void write_all(struct slice s)
{
    while (s.n) {
        ssize_t n = write(STDERR_FILENO, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody left to tell */
        s = slice_skip(s, (size_t)n);
    }
}

bool log_limit_passes(struct log_limit *l, struct mono now, unsigned *ret_left_out)
{
    enum { MINUTE_MS = 60000 };
    long long until = atomic_load(&l->until_ms);
    *ret_left_out = 0;
    if (now.ms >= until &&
        atomic_compare_exchange_strong(&l->until_ms, &until, now.ms + MINUTE_MS)) {
        atomic_store(&l->written, 0);
        *ret_left_out = atomic_exchange(&l->left_out, 0);
    }
    if (atomic_fetch_add(&l->written, 1) < l->a_minute)
        return true;
    atomic_fetch_add(&l->left_out, 1);
    return false;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
        return;
    char time[WALL_RFC3339_SIZE];
    wall_rfc3339(wall_now(), time);
    struct buf line = BUF_MAX(LINE_MAX_BYTES);
    buf_addf(&line, "time=%s level=%s event=%s", time, level_names[level], event);
    add_fields(&line, fields);
    buf_add_u8(&line, '\n');
    write_all(buf_slice(&line));
    buf_done(&line);
}
