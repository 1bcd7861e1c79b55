#include "relay/base/clock.h"
#include "relay/base/must.h"
#include <string.h>
#include <time.h>

/* What four digits of a year can say: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z; other times
 * show as the nearer end. */
#define SECOND_FIRST INT64_C(-62135596800)
#define SECOND_LAST INT64_C(253402300799)
#define DAY_SECONDS INT64_C(86400)

struct civil {
    unsigned year, month, day, hour, minute, second, micro,
        weekday; /* month and day from 1, Sunday = 0 */
};

struct mono mono_now(void)
{
    struct timespec t;
    MUST(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (struct mono){(int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000};
}

struct wall wall_now(void)
{
    struct timespec t;
    MUST(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (struct wall){(int64_t)t.tv_sec * WALL_SECOND + t.tv_nsec / 1000};
}

/* Day number to date in the calendar that begins each year in March, so that the leap day is its
 * last (Howard Hinnant, "chrono-compatible low-level date algorithms"); 719468 days lie between
 * 0000-03-01 and 1970. gmtime_r would take a lock that all threads share. */
static void civil_date(int64_t days_since_1970, struct civil *c)
{
    uint64_t z = (uint64_t)(days_since_1970 + 719468);
    uint64_t era = z / 146097;
    unsigned day_of_era = (unsigned)(z % 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * day_of_year + 2) / 153;
    c->day = day_of_year - (153 * march_month + 2) / 5 + 1;
    c->month = march_month < 10 ? march_month + 3 : march_month - 9;
    c->year = (unsigned)era * 400 + year_of_era + (c->month <= 2);
}

static struct civil civil_of(struct wall t)
{
    int64_t micro = t.us % WALL_SECOND, second = t.us / WALL_SECOND;
    if (micro < 0) {
        micro += WALL_SECOND;
        second--;
    }
    if (second < SECOND_FIRST || second > SECOND_LAST) {
        micro = second < SECOND_FIRST ? 0 : WALL_SECOND - 1;
        second = second < SECOND_FIRST ? SECOND_FIRST : SECOND_LAST;
    }
    int64_t in_day = second % DAY_SECONDS, days = second / DAY_SECONDS;
    if (in_day < 0) {
        in_day += DAY_SECONDS;
        days--;
    }
    struct civil c = {
        .hour = (unsigned)(in_day / 3600),
        .minute = (unsigned)(in_day / 60 % 60),
        .second = (unsigned)(in_day % 60),
        .micro = (unsigned)micro,
        /* 1970-01-01 was a Thursday; whole weeks, as many as year 0 lies back, keep it positive. */
        .weekday = (unsigned)((days + 4 + 7 * 102800) % 7)};
    civil_date(days, &c);
    return c;
}

static char *put_digits(char *p, unsigned value, unsigned digits)
{
    for (unsigned i = digits; i > 0; i--, value /= 10)
        p[i - 1] = (char)('0' + value % 10);
    return p + digits;
}

static char *put_char(char *p, char c)
{
    *p = c;
    return p + 1;
}

/* "HH:MM:SS" */
static char *put_time(char *p, const struct civil *c)
{
    p = put_char(put_digits(p, c->hour, 2), ':');
    p = put_char(put_digits(p, c->minute, 2), ':');
    return put_digits(p, c->second, 2);
}

void wall_rfc3339(struct wall t, char ret_text[WALL_RFC3339_SIZE])
{
    struct civil c = civil_of(t);
    char *p = put_char(put_digits(ret_text, c.year, 4), '-');
    p = put_char(put_digits(p, c.month, 2), '-');
    p = put_char(put_digits(p, c.day, 2), 'T');
    p = put_char(put_time(p, &c), '.');
    p = put_char(put_digits(p, c.micro, 6), 'Z');
    *p = 0;
}

void wall_rfc5322(struct wall t, char ret_text[WALL_RFC5322_SIZE])
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct civil c = civil_of(t);
    char *p = ret_text;
    memcpy(p, weekdays + (size_t)3 * c.weekday, 3);
    memcpy(p + 3, ", ", 2);
    p = put_char(put_digits(p + 5, c.day, 2), ' ');
    memcpy(p, months + (size_t)3 * (c.month - 1), 3);
    p = put_char(p + 3, ' ');
    p = put_char(put_digits(p, c.year, 4), ' ');
    p = put_time(p, &c);
    memcpy(p, " +0000", sizeof " +0000");
}

/* ---- reading ---- */

static unsigned days_in(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

/* The inverse of civil_date. */
static int64_t days_since_1970(const struct civil *c)
{
    unsigned y = c->month <= 2 ? c->year - 1 : c->year;
    unsigned march_month = c->month > 2 ? c->month - 3 : c->month + 9;
    unsigned year_of_era = y % 400, day_of_year = (153 * march_month + 2) / 5 + c->day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)(y / 400) * 146097 + day_of_era - 719468;
}

/* Exactly so many digits, then `after` (0: nothing). */
static bool take_number(struct slice *s, unsigned digits, char after, unsigned *ret)
{
    uint64_t n;
    if (s->n < digits + (after != 0) || !slice_u64(slice_head(*s, digits), UINT32_MAX, &n) ||
        (after && byte_lower(s->p[digits]) != byte_lower((uint8_t)after)))
        return false;
    *s = slice_skip(*s, digits + (after != 0));
    *ret = (unsigned)n;
    return true;
}

static bool take_fraction(struct slice *s, unsigned *ret_micro)
{
    *ret_micro = 0;
    if (s->n == 0 || s->p[0] != '.')
        return true;
    *s = slice_skip(*s, 1);
    unsigned scale = 100000;
    size_t n = 0;
    for (; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++, scale /= 10)
        *ret_micro += (unsigned)(s->p[n] - '0') * scale;
    *s = slice_skip(*s, n);
    return n > 0;
}

/* "Z", or how far local time is ahead. */
static bool take_offset(struct slice *s, int64_t *ret_seconds)
{
    const uint8_t sign = s->n ? byte_lower(s->p[0]) : 0;
    unsigned hours = 0, minutes = 0;
    *s = slice_skip(*s, 1);
    *ret_seconds = 0;
    if (sign == 'z')
        return true;
    if ((sign != '+' && sign != '-') || !take_number(s, 2, ':', &hours) ||
        !take_number(s, 2, 0, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_seconds = (int64_t)(hours * 60 + minutes) * (sign == '-' ? -60 : 60);
    return true;
}

bool wall_parse_rfc3339(struct slice s, struct wall *ret)
{
    struct civil c = {0};
    int64_t offset;
    if (!take_number(&s, 4, '-', &c.year) || !take_number(&s, 2, '-', &c.month) ||
        !take_number(&s, 2, 'T', &c.day) || !take_number(&s, 2, ':', &c.hour) ||
        !take_number(&s, 2, ':', &c.minute) || !take_number(&s, 2, 0, &c.second) ||
        !take_fraction(&s, &c.micro) || !take_offset(&s, &offset) || s.n > 0)
        return false;
    if (c.year < 1970 || c.month < 1 || c.month > 12 || c.day < 1 ||
        c.day > days_in(c.year, c.month) || c.hour > 23 || c.minute > 59 || c.second > 60)
        return false; /* second 60 is a leap second */
    const int64_t day = days_since_1970(&c);
    const int64_t second = day * DAY_SECONDS + c.hour * 3600 + c.minute * 60 + c.second - offset;
    if (second < 0 || second > SECOND_LAST)
        return false;
    *ret = (struct wall){second * WALL_SECOND + c.micro};
    return true;
}
