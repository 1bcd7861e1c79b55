/* Numbers and times in words for a person. */
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/cli/private.h"
#include <poll.h>
#include <unistd.h>

const char *json_text(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

int64_t json_number(const json_t *row, const char *key)
{
    return (int64_t)json_number_value(json_object_get(row, key));
}

bool utf8_text(const char *text)
{
    return utf8_valid(slice_str(text));
}

bool output_is_read(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return fflush(stdout) == 0 && !ferror(stdout) &&
           (poll(&out, 1, 0) <= 0 || !(out.revents & (POLLERR | POLLNVAL)));
}

void print_clean(FILE *to, const char *text)
{
    struct buf b = BUF_MAX(65536);
    for (struct slice rest = slice_str(text); rest.n;) {
        buf_reset(&b);
        utf8_clean(&b, slice_cut(&rest, '\n'), 65000);
        fputs(buf_str(&b), to);
        if (rest.n)
            fputc('\n', to);
    }
    buf_done(&b);
}

void print_json_line(void *ctx, const json_t *row)
{
    (void)ctx;
    json_dumpf(row, stdout, JSON_COMPACT);
    putchar('\n');
}

void json_keep_row(void *rows, const json_t *row)
{
    json_array_append_new(rows, json_deep_copy(row));
}

void print_text_line(void *ctx, char *text, size_t n)
{
    (void)ctx;
    fwrite(text, 1, n, stdout);
    putchar('\n');
}

/* The two largest units, as people say it. */
const char *show_seconds(char text[SHOW_SIZE], int64_t seconds)
{
    static const struct {
        int64_t s;
        char letter;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    if (seconds < 0)
        seconds = 0;
    while (i < 3 && seconds < units[i].s)
        i++;
    int64_t rest = i < 3 ? seconds % units[i].s / units[i + 1].s : 0;
    if (rest)
        snprintf(text, SHOW_SIZE, "%lld%c %lld%c", (long long)(seconds / units[i].s),
                 units[i].letter, (long long)rest, units[i + 1].letter);
    else
        snprintf(text, SHOW_SIZE, "%lld%c", (long long)(seconds / units[i].s), units[i].letter);
    return text;
}

const char *show_bytes(char text[SHOW_SIZE], int64_t bytes)
{
    static const char letters[] = "BKMGT";
    double value = (double)bytes;
    size_t i = 0;
    while (value >= 1024 && i < 4) {
        value /= 1024;
        i++;
    }
    snprintf(text, SHOW_SIZE, value < 10 && i > 0 ? "%.1f%c" : "%.0f%c", value, letters[i]);
    return text;
}

static bool digits(struct slice *s, size_t n, uint8_t end, int64_t *ret)
{
    uint64_t value;
    if (s->n < n || !slice_u64(slice_head(*s, n), 9999, &value))
        return false;
    *s = slice_skip(*s, n);
    if (end && (s->n == 0 || s->p[0] != end))
        return false;
    *s = slice_skip(*s, end ? 1 : 0);
    *ret = (int64_t)value;
    return true;
}

/* Days since 1970-01-01 of the proleptic Gregorian calendar, counted from 1 March. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400, y = year % 400, m = (month + 9) % 12;
    return era * 146097 + y * 365 + y / 4 - y / 100 + (153 * m + 2) / 5 + day - 1 - 719468;
}

bool show_parse_time(const char *text, struct wall *ret)
{
    struct slice s = slice_str(text);
    int64_t year, month, day, hour, minute, second;
    if (!digits(&s, 4, '-', &year) || !digits(&s, 2, '-', &month) || !digits(&s, 2, 'T', &day) ||
        !digits(&s, 2, ':', &hour) || !digits(&s, 2, ':', &minute) || !digits(&s, 2, 0, &second))
        return false;
    if (month < 1 || month > 12 || s.n == 0 || s.p[s.n - 1] != 'Z')
        return false;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *ret = (struct wall){seconds * WALL_SECOND};
    return true;
}

const char *show_distance(char text[SHOW_SIZE], const char *time, int sign)
{
    struct wall t;
    if (!show_parse_time(time, &t))
        return "-";
    return show_seconds(text, sign * (t.us - wall_now().us) / WALL_SECOND);
}

const char *show_age(char text[SHOW_SIZE], const json_t *row, const char *key)
{
    return show_distance(text, json_text(row, key), -1);
}

const char *show_ahead(char text[SHOW_SIZE], const json_t *row, const char *key)
{
    return show_distance(text, json_text(row, key), 1);
}
