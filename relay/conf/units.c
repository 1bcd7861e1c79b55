/* number = 1*DIGIT;  size = number [ "K" / "M" / "G" / "T" ];  duration = number unit;  rate =
 * number "/" ( "s" / "m" / "h" / "d" ) */
#include "relay/conf/conf.h"

static size_t digits(struct slice s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    return n;
}

bool conf_parse_size(struct slice s, uint64_t *ret_bytes)
{
    static const char letters[] = "KMGT";
    size_t n = digits(s);
    unsigned shift = 0;
    if (s.n == n + 1) {
        const char *letter = strchr(letters, s.p[n] & ~0x20);
        if (!letter || !*letter)
            return false;
        shift = 10 * (unsigned)(letter - letters + 1);
    } else if (s.n != n) {
        return false;
    }
    uint64_t value;
    if (!slice_u64(slice_head(s, n), (uint64_t)INT64_MAX >> shift, &value))
        return false;
    *ret_bytes = value << shift;
    return true;
}

bool conf_parse_duration(struct slice s, int64_t *ret_ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                 {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};
    size_t n = digits(s);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (!slice_eq(slice_skip(s, n), slice_str(units[i].name)))
            continue;
        uint64_t value;
        /* A hundred years, so that sums of times never overflow. */
        if (!slice_u64(slice_head(s, n), INT64_C(3153600000000) / (uint64_t)units[i].ms, &value))
            return false;
        *ret_ms = (int64_t)value * units[i].ms;
        return true;
    }
    return false;
}

bool conf_parse_rate(struct slice s, struct conf_rate *ret)
{
    static const char letters[] = "smhd";
    static const int64_t periods_ms[] = {1000, 60000, 3600000, 86400000};
    struct slice unit = s, number = slice_cut(&unit, '/');
    uint64_t n;
    const char *letter = unit.n == 1 && unit.p[0] ? strchr(letters, unit.p[0]) : NULL;
    if (!letter || !slice_u64(number, 1000000000, &n) || n == 0)
        return false;
    *ret = (struct conf_rate){.n = (unsigned)n, .per_ms = periods_ms[letter - letters]};
    return true;
}
