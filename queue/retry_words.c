/*
 * When a receiver says to come again, in its own words:
 *
 *   wish  = lead *OTHER time            ; OTHER: nothing but a few words, LOOK_MAX octets
 *   lead  = "again" / "retry" / "wait" / "come back" / "greylist" / "graylist" / "delay"
 *   time  = 1*9DIGIT [SP] unit          ; "5 minutes", "300s"
 *         / 1*2DIGIT ":" 2DIGIT ":" 2DIGIT ; "00:04:57"
 *   unit  = a word that begins with s, m, h or d as in units[]
 *
 * A number without a unit is an address, a queue id, a rule of theirs: it is no time.
 */
#include "queue/retry.h"

enum { LOOK_MAX = 48, DIGITS_MAX = 9 };

static const char *const leads[] = {"again",    "retry",    "wait", "come back",
                                    "greylist", "graylist", "delay"};

static const struct {
    const char *word;
    int64_t seconds;
} units[] = {{"s", 1},     {"sec", 1},     {"secs", 1},     {"second", 1},  {"seconds", 1},
             {"m", 60},    {"min", 60},    {"mins", 60},    {"minute", 60}, {"minutes", 60},
             {"h", 3600},  {"hour", 3600}, {"hours", 3600}, {"hr", 3600},   {"hrs", 3600},
             {"d", 86400}, {"day", 86400}, {"days", 86400}};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(uint8_t c)
{
    return byte_lower(c) >= 'a' && byte_lower(c) <= 'z';
}

static size_t count(struct slice s, bool (*is)(uint8_t c))
{
    size_t n = 0;
    while (n < s.n && is(s.p[n]))
        n++;
    return n;
}

static int64_t number_of(struct slice digits)
{
    int64_t n = 0;
    for (size_t i = 0; i < digits.n; i++)
        n = n * 10 + (digits.p[i] - '0');
    return n;
}

/* ":MM:SS" behind the hours; 0: it is not one. */
static int64_t clock_time(int64_t hours, struct slice s)
{
    bool is_clock = s.n >= 6 && s.p[0] == ':' && is_digit(s.p[1]) && is_digit(s.p[2]) &&
                    s.p[3] == ':' && is_digit(s.p[4]) && is_digit(s.p[5]);
    if (!is_clock || hours > 99)
        return 0;
    return hours * 3600 + number_of(slice_of(s.p + 1, 2)) * 60 + number_of(slice_of(s.p + 4, 2));
}

static int64_t unit_time(int64_t n, struct slice s)
{
    if (s.n && (s.p[0] == ' ' || s.p[0] == '-'))
        s = slice_skip(s, 1);
    struct slice word = slice_head(s, count(s, is_letter));
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (slice_ieq(word, slice_str(units[i].word)))
            return n * units[i].seconds;
    return 0;
}

/* The first number behind a lead is a time or the lead is none. */
static int64_t time_behind(struct slice s)
{
    s = slice_head(s, LOOK_MAX + DIGITS_MAX + 10);
    size_t at = 0;
    while (at < s.n && at < LOOK_MAX && !is_digit(s.p[at]))
        at++;
    struct slice digits = slice_skip(s, at);
    digits = slice_head(digits, count(digits, is_digit));
    if (digits.n == 0 || digits.n > DIGITS_MAX)
        return 0;
    struct slice rest = slice_skip(s, at + digits.n);
    int64_t n = number_of(digits), by_clock = clock_time(n, rest);
    return by_clock ? by_clock : unit_time(n, rest);
}

int64_t retry_words(struct slice text)
{
    for (size_t at = 0; at < text.n; at++) {
        struct slice here = slice_skip(text, at);
        for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
            struct slice lead = slice_str(leads[i]);
            int64_t s = slice_istarts(here, lead) ? time_behind(slice_skip(here, lead.n)) : 0;
            if (s > 0)
                return s;
        }
    }
    return 0;
}
