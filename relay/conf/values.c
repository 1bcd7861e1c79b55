/* One converter a type: text in, one field (or one item of a list) out, or a reason why not. */
#include "relay/base/defer.h"
#include "relay/conf/options.h"

static bool refuse(struct buf *why, const char *text)
{
    buf_add_str(why, text);
    return false;
}

static void keep(const struct place *p, struct slice text, void *field)
{
    const char *kept = own_text(p->own, text);
    memcpy(field, &kept, sizeof kept);
}

static bool printable(struct slice s, uint8_t first)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < first || s.p[i] > 126)
            return false;
    return true;
}

static bool host(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n && !host_name_ok(s))
        return refuse(why, "is not a host name such as relay.example.com");
    keep(p, s, field);
    return true;
}

static bool mailbox(const struct place *p, struct slice s, void *field, struct buf *why)
{
    const struct slice domain = slice_behind_last(s, '@');
    bool ok = domain.n > 0 && s.n - domain.n > 1 && s.n <= 254 && printable(s, '!') &&
              !memchr(s.p, '<', s.n) && host_name_ok(domain);
    if (s.n && !ok)
        return refuse(why, "is not a mail address such as postmaster@example.com");
    keep(p, s, field);
    return true;
}

/* A mail address, or a word that conf.c puts an address, or none, in the place of. */
static bool double_bounces(const struct place *p, struct slice s, void *field, struct buf *why)
{
    const bool word = slice_eq(s, SLICE_LIT("postmaster")) || slice_eq(s, SLICE_LIT("log"));
    if (word)
        keep(p, s, field);
    else if (!mailbox(p, s, field, why))
        return refuse(why, "is no mail address, and neither postmaster nor log");
    return true;
}

static bool account(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n > 32 || !printable(s, '!') || slice_find(s, ':') < s.n)
        return refuse(why, "is not the name of an account");
    keep(p, s, field);
    return true;
}

/* Relative to the file that names it: a daemon's working folder is nobody's choice. */
static bool path(const struct place *p, struct slice s, void *field, struct buf *why)
{
    DEFER(buf_done) struct buf whole = BUF_MAX(4096);
    if (s.n && s.p[0] != '/')
        buf_add_str(&whole, p->folder);
    buf_add(&whole, s);
    if (whole.overflow)
        return refuse(why, "is too long for a path");
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] == 127)
            return refuse(why, "holds a control character");
    keep(p, buf_slice(&whole), field);
    return true;
}

static bool text(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n > 200 || !printable(s, ' '))
        return refuse(why, "is not printable ASCII of at most 200 characters");
    keep(p, s, field);
    return true;
}

/* As Postfix lets them be: what addresses have anywhere, and shells and filters leave alone. */
static bool verp_delimiters(const struct place *p, struct slice s, void *field, struct buf *why)
{
    bool ok = s.n == 2;
    for (size_t i = 0; ok && i < 2; i++)
        ok = memchr("-+=", s.p[i], 3);
    if (!ok)
        return refuse(why, "is not two characters of -, + and =");
    keep(p, s, field);
    return true;
}

static bool number(const struct place *p, struct slice s, uint64_t *ret, struct buf *why)
{
    if (slice_u64(s, (uint64_t)p->option->max, ret) && *ret >= (uint64_t)p->option->min)
        return true;
    buf_addf(why, "is not a number from %lld to %lld", (long long)p->option->min,
             (long long)p->option->max);
    return false;
}

static bool count(const struct place *p, struct slice s, void *field, struct buf *why)
{
    uint64_t value;
    if (!number(p, s, &value, why))
        return false;
    *(unsigned *)field = (unsigned)value;
    return true;
}

static bool port(const struct place *p, struct slice s, void *field, struct buf *why)
{
    uint64_t value;
    if (!number(p, s, &value, why))
        return false;
    *(uint16_t *)field = (uint16_t)value;
    return true;
}

static bool size(const struct place *p, struct slice s, void *field, struct buf *why)
{
    uint64_t value;
    if (!conf_parse_size(s, &value))
        return refuse(why, "is not a size such as \"25M\" (K, M, G, T)");
    if (p->option->max && (value < (uint64_t)p->option->min || value > (uint64_t)p->option->max)) {
        buf_addf(why, "is not between %lld and %lld bytes", (long long)p->option->min,
                 (long long)p->option->max);
        return false;
    }
    *(uint64_t *)field = value;
    return true;
}

/* unit_ms: of the option's bounds and of the result. */
static bool duration(const struct place *p, struct slice s, int64_t unit_ms, int64_t *ret,
                     struct buf *why)
{
    int64_t value, min = p->option->min * unit_ms, max = p->option->max * unit_ms;
    if (!conf_parse_duration(s, &value))
        return refuse(why, "is not a duration such as \"90s\" (ms, s, m, h, d)");
    if (value < min || value > max) {
        if (max < 86400000)
            buf_addf(why, "is not between %lldms and %llds", (long long)min, (long long)max / 1000);
        else
            buf_addf(why, "is not between %llds and %lldd", (long long)min / 1000,
                     (long long)max / 86400000);
        return false;
    }
    if (value % unit_ms)
        return refuse(why, "is not a whole number of seconds");
    *ret = value / unit_ms;
    return true;
}

static bool seconds(const struct place *p, struct slice s, void *field, struct buf *why)
{
    return duration(p, s, 1000, field, why);
}

static bool ms(const struct place *p, struct slice s, void *field, struct buf *why)
{
    return duration(p, s, 1, field, why);
}

static bool retry(const struct place *p, struct slice s, void *field, struct buf *why)
{
    return duration(p, s, 1000, field, why);
}

static bool rate(const struct place *p, struct slice s, void *field, struct buf *why)
{
    (void)p;
    return conf_parse_rate(s, field) ||
           refuse(why, "is not a rate such as \"100/s\" or \"6000/m\" (s, m, h, d)");
}

static bool rate_or_none(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n)
        return rate(p, s, field, why);
    *(struct conf_rate *)field = (struct conf_rate){0};
    return true;
}

static bool boolean(const struct place *p, struct slice s, void *field, struct buf *why)
{
    (void)p;
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < 3; i++) {
        bool is_yes = slice_eq(s, slice_str(yes[i]));
        if (is_yes || slice_eq(s, slice_str(no[i]))) {
            *(bool *)field = is_yes;
            return true;
        }
    }
    return refuse(why, "is neither true nor false");
}

static bool choice(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct slice rest = slice_str(option_kinds[p->option->type].names);
    for (unsigned value = 0; rest.n; value++) {
        if (slice_eq(slice_cut(&rest, ' '), s)) {
            memcpy(field, &value, sizeof value);
            return true;
        }
    }
    buf_addf(why, "is not one of %s", option_kinds[p->option->type].words);
    return false;
}
_Static_assert(sizeof(enum conf_auth) == sizeof(unsigned), "a choice is written as an unsigned");

static void keep_host_port(const struct place *p, struct slice host_part, uint16_t port_part,
                           void *field)
{
    struct ip ip;
    DEFER(buf_done) struct buf whole = BUF_MAX(300);
    bool bare_v6 = host_part.p[0] != '[' && ip_parse(host_part, &ip) && ip.v6;
    buf_addf(&whole, bare_v6 ? "[%.*s]:%u" : "%.*s:%u", SLICE_ARG(host_part), port_part);
    keep(p, buf_slice(&whole), field);
}

/* "[192.0.2.1]", as Postfix writes it, is kept as everybody after us reads it. */
static struct slice unwrap_v4(struct slice host_part, const struct ip *ip)
{
    const bool wrapped = host_part.p[0] == '[' && !ip->v6;
    return wrapped ? slice_of(host_part.p + 1, host_part.n - 2) : host_part;
}

static bool listen_address(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct slice host_part;
    struct ip ip;
    uint16_t port_part;
    if (!host_port_split(s, 0, &host_part, &port_part) || !ip_parse(host_part, &ip))
        return refuse(why, "is not an address with a port such as 0.0.0.0:587 or [::]:587");
    keep_host_port(p, unwrap_v4(host_part, &ip), port_part, field);
    return true;
}

static bool one_address(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n)
        return listen_address(p, s, field, why);
    keep(p, s, field);
    return true;
}

static bool server(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct slice host_part;
    struct ip ip;
    uint16_t port_part;
    if (!host_port_split(s, 53, &host_part, &port_part) || !ip_parse(host_part, &ip))
        return refuse(why, "is not an address such as 127.0.0.1:53 or [::1]:53");
    keep_host_port(p, unwrap_v4(host_part, &ip), port_part, field);
    return true;
}

static bool ip_alone(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct ip ip;
    if (!ip_parse(s, &ip))
        return refuse(why, "is not an address such as 192.0.2.10");
    keep(p, s.p[0] == '[' ? slice_of(s.p + 1, s.n - 2) : s, field);
    return true;
}

static bool relay(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct slice host_part;
    struct ip ip;
    uint16_t port_part;
    if (!host_port_split(s, 25, &host_part, &port_part) ||
        (!host_name_ok(host_part) && !ip_parse(host_part, &ip)))
        return refuse(why, "is not a host with a port such as smtp.example.com:587");
    keep_host_port(p, host_part, port_part, field);
    return true;
}

/* "192.0.2.1", "[2001:db8::1] out.example.com": kept without brackets and with one blank. */
static bool source(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct slice name = s, address = slice_cut(&name, ' ');
    struct ip ip;
    name = slice_trim(name);
    if (!ip_parse(address, &ip))
        return refuse(why, "is not an address such as 192.0.2.10, perhaps with a name behind it");
    if (name.n && !host_name_ok(name))
        return refuse(why, "has a name behind the address that is not a host name");
    if (address.p[0] == '[')
        address = slice_of(address.p + 1, address.n - 2);
    DEFER(buf_done) struct buf text = BUF_MAX(400);
    buf_add(&text, address);
    if (name.n)
        buf_addf(&text, " %.*s", SLICE_ARG(name));
    keep(p, buf_slice(&text), field);
    return true;
}

static bool network(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct network n;
    if (!network_parse(s, &n, why))
        return false;
    /* "[::1]/128", as Postfix writes it: without the brackets from here on. */
    DEFER(buf_done) struct buf text = BUF_MAX(100);
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '[' && s.p[i] != ']')
            buf_add_u8(&text, s.p[i]);
    keep(p, buf_slice(&text), field);
    return true;
}

/* Kept in lower case: domains are compared that way. */
static bool pattern(const struct place *p, struct slice s, void *field, struct buf *why)
{
    char lower[256];
    if (s.n == 0 || s.n > 253)
        return refuse(why, "is not a pattern of 1 to 253 characters");
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = byte_lower(s.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !memchr("-_.*?[]:", c, 8))
            return refuse(why, "is not a pattern such as example.com or *.example.com");
        lower[i] = (char)c;
    }
    keep(p, slice_of(lower, s.n), field);
    return true;
}

static bool line(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n == 0 || s.n > 600 || !printable(s, ' '))
        return refuse(why, "is not a line such as \"example.test MX 10 mx.example.test\"");
    keep(p, s, field);
    return true;
}

static bool word(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n == 0 || s.n > 1000 || !printable(s, ' '))
        return refuse(why, "is not a word of 1 to 1000 printable ASCII characters");
    keep(p, s, field);
    return true;
}

/* Lower case, as a name is asked for. What a selector is, is relay/mail's to say. */
static bool selector(const struct place *p, struct slice s, void *field, struct buf *why)
{
    if (s.n == 0 || s.n > 63 || !printable(s, '!'))
        return refuse(why, "is not a selector such as s2026: 1 to 63 letters, digits and -");
    keep(p, s, field);
    return true;
}

static bool mechanism(const struct place *p, struct slice s, void *field, struct buf *why)
{
    struct slice rest = SLICE_LIT(CONF_MECHANISMS);
    while (rest.n) {
        struct slice name = slice_cut(&rest, ' ');
        if (slice_ieq(name, s)) {
            keep(p, name, field);
            return true;
        }
    }
    return refuse(why, "is not one of " CONF_MECHANISMS);
}

typedef bool converter(const struct place *p, struct slice s, void *field, struct buf *why);
static converter *const converters[] = {
#define X(type, is_list, words, convert, names) convert,
#include "relay/conf/types.def"
#undef X
};

bool value_convert(const struct place *p, struct slice s, void *field, struct buf *why)
{
    return converters[p->option->type](p, s, field, why);
}
