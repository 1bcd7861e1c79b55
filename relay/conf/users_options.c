/*
 * options = [ option *( "," option ) ]
 *
 * from=PATTERN …   rate=N/[N]PERIOD   burst=N   max-size=SIZE   max-recipients=N   tag=KEY=VALUE …
 * priority=high|normal|low   destination=NAME   certificate=SHA-256 …   disabled   scram=SECRET
 *
 * One row an option: the file, the verbs and the manual know them from here.
 */
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/conf/conf.h"
#include "relay/conf/users_private.h"

#define FROM_MAX 320
/* As of a message's own tags. */
#define TAG_KEY_MAX 32
#define TAG_VALUE_MAX 128
#define DESTINATION_MAX 128
#define NUMBER_MAX UINT64_C(1000000000)
#define SIZE_LEAST 1024
#define RECIPIENTS_MAX 65535

static const char *keep(struct arena *a, struct slice s)
{
    struct slice kept = arena_dup(a, s);
    MUST(kept.p);
    return (const char *)kept.p;
}

static bool printable(struct slice s, size_t max)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 127)
            return false;
    return s.n > 0 && s.n <= max;
}

/* One more item behind n of them. The old room is given up: lists are short. */
static void *grow(struct arena *a, const void *items, size_t n, size_t size)
{
    void *more = arena_alloc(a, (n + 1) * size);
    MUST(more);
    if (n)
        memcpy(more, items, n * size);
    return more;
}

static bool take_from(struct user *u, struct slice value, struct arena *a)
{
    if (!printable(value, FROM_MAX))
        return false;
    u->from = grow(a, u->from, u->n_from, sizeof *u->from);
    u->from[u->n_from++] = keep(a, value);
    return true;
}

/* rate = 1*DIGIT "/" [ 1*DIGIT ] ( "s" / "m" / "h" / "d" ) */
static bool take_rate(struct user *u, struct slice value, struct arena *a)
{
    struct slice period = value, count = slice_cut(&period, '/');
    struct user_rate r = {.burst = u->limit.burst};
    char one[24];
    if (period.n == 1) { /* "h" is "1h" */
        one[0] = '1';
        one[1] = (char)period.p[0];
        period = slice_of(one, 2);
    }
    if (!slice_u64(count, NUMBER_MAX, &r.recipients) || r.recipients == 0 || period.n < 2 ||
        !memchr("smhd", period.p[period.n - 1], 4) || period.p[period.n - 2] == 'm' ||
        !conf_parse_duration(period, &r.period_ms) || r.period_ms < 1000 ||
        r.period_ms > INT64_C(86400000))
        return false;
    u->limit = r;
    u->rate = keep(a, value);
    return true;
}

static bool take_burst(struct user *u, struct slice value, struct arena *a)
{
    (void)a;
    return slice_u64(value, NUMBER_MAX, &u->limit.burst) && u->limit.burst > 0;
}

static bool take_max_size(struct user *u, struct slice value, struct arena *a)
{
    uint64_t bytes;
    (void)a;
    if (!conf_parse_size(value, &bytes) || bytes < SIZE_LEAST)
        return false;
    u->max_size = bytes;
    return true;
}

static bool take_max_recipients(struct user *u, struct slice value, struct arena *a)
{
    uint64_t n;
    (void)a;
    if (!slice_u64(value, RECIPIENTS_MAX, &n) || n == 0)
        return false;
    u->max_recipients = (unsigned)n;
    return true;
}

static bool is_shown(struct slice s)
{
    uint32_t code;
    for (size_t n; s.n > 0; s = slice_skip(s, n)) {
        n = utf8_char(s, &code);
        if (n == 0 || utf8_is_control(code))
            return false;
    }
    return true;
}

static bool is_tag_key(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = byte_lower(s.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !memchr("._-", c, 3))
            return false;
    }
    return s.n > 0 && s.n <= TAG_KEY_MAX;
}

static bool is_tag_value(struct slice s)
{
    return s.n > 0 && s.n <= TAG_VALUE_MAX && is_shown(s);
}

static bool has_tag(const struct user *u, struct slice key)
{
    struct slice lines = slice_str(u->tags);
    while (lines.n) {
        struct slice line = slice_cut(&lines, '\n');
        if (slice_eq(slice_cut(&line, '='), key))
            return true;
    }
    return false;
}

static bool take_tag(struct user *u, struct slice value, struct arena *a)
{
    struct slice rest = value, key = slice_cut(&rest, '=');
    DEFER(buf_done) struct buf lines = BUF_MAX(USER_TAGS_MAX * (TAG_KEY_MAX + TAG_VALUE_MAX + 2));
    if (!is_tag_key(key) || !is_tag_value(rest) || u->n_tags == USER_TAGS_MAX || has_tag(u, key))
        return false;
    buf_addf(&lines, "%s%s%.*s", u->tags ? u->tags : "", u->n_tags ? "\n" : "", SLICE_ARG(value));
    u->tags = keep(a, buf_slice(&lines));
    u->n_tags++;
    return true;
}

static bool take_priority(struct user *u, struct slice value, struct arena *a)
{
    static const char *const names[] = {"", "high", "normal", "low"};
    (void)a;
    for (size_t i = 1; i < sizeof names / sizeof *names; i++)
        if (slice_eq(value, slice_str(names[i]))) {
            u->priority = (enum user_priority)i;
            return true;
        }
    return false;
}

static bool take_destination(struct user *u, struct slice value, struct arena *a)
{
    if (!printable(value, DESTINATION_MAX))
        return false;
    u->destination = keep(a, value);
    return true;
}

static bool take_disabled(struct user *u, struct slice value, struct arena *a)
{
    (void)value, (void)a;
    u->disabled = true;
    return true;
}

static int hex_digit(uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = memchr(digits, byte_lower(c), 16);
    return at ? (int)(at - digits) : -1;
}

/* fingerprint = 32( 2HEXDIG [ ":" ] ), as `openssl x509 -fingerprint -sha256` writes it or without
 * colons */
static bool take_certificate(struct user *u, struct slice value, struct arena *a)
{
    uint8_t digest[USER_CERTIFICATE_SIZE];
    size_t n = 0;
    for (size_t i = 0; i < value.n; n++) {
        if (n > 0 && value.p[i] == ':')
            i++;
        if (n == sizeof digest || value.n - i < 2)
            return false;
        int high = hex_digit(value.p[i]), low = hex_digit(value.p[i + 1]);
        if (high < 0 || low < 0)
            return false;
        digest[n] = (uint8_t)(high * 16 + low);
        i += 2;
    }
    if (n != sizeof digest)
        return false;
    uint8_t *more = grow(a, u->certificates, u->n_certificates, sizeof digest);
    memcpy(more + u->n_certificates * sizeof digest, digest, sizeof digest);
    u->certificates = more;
    u->n_certificates++;
    return true;
}

static bool take_scram(struct user *u, struct slice value, struct arena *a)
{
    return scram_parse(value, a, &u->scram);
}

const struct user_option user_options[] = {
    {"from", USER_OPTION_SEVERAL, "an address pattern", take_from},
    {"rate", USER_OPTION_ONE, "one rate such as 100/s, 1000/h or 50/10m", take_rate},
    {"burst", USER_OPTION_ONE, "a number of recipients, and a rate beside it", take_burst},
    {"max-size", USER_OPTION_ONE, "a size of 1K or more, such as 25M", take_max_size},
    {"max-recipients", USER_OPTION_ONE, "a number from 1 to 65535", take_max_recipients},
    {"tag", USER_OPTION_SEVERAL,
     "KEY=VALUE, the key 1 to 32 of A-Z a-z 0-9 . _ -, each once, at most 16; the value without "
     "commas",
     take_tag},
    {"priority", USER_OPTION_ONE, "one of high, normal, low", take_priority},
    {"destination", USER_OPTION_ONE, "the name of a destination of the configuration",
     take_destination},
    {"certificate", USER_OPTION_SEVERAL,
     "the SHA-256 fingerprint of a certificate or of its public key: 64 hexadecimal digits",
     take_certificate},
    {"disabled", USER_OPTION_FLAG, "no value", take_disabled},
    {"scram", USER_OPTION_ONE, "SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY", take_scram},
};
const size_t n_user_options = sizeof user_options / sizeof *user_options;
_Static_assert(sizeof user_options / sizeof *user_options == USER_OPTIONS_MAX, "users.h says so");

const struct user_option *user_option_find(struct slice name)
{
    for (size_t i = 0; i < n_user_options; i++)
        if (slice_eq(name, slice_str(user_options[i].name)))
            return &user_options[i];
    return NULL;
}

struct taking {
    struct user *user;
    struct arena *arena;
    void (*say)(void *ctx, const char *problem);
    void *ctx;
    bool seen[USER_OPTIONS_MAX], ok;
};

static void complain(struct taking *t, const char *name, const char *verb, const char *needs)
{
    DEFER(buf_done) struct buf text = BUF_MAX(400);
    buf_addf(&text, "%s%s%s", name, verb, needs);
    t->say(t->ctx, buf_str(&text));
    t->ok = false;
}

static void take_one(struct taking *t, struct slice option)
{
    struct slice value = option, name = slice_cut(&value, '=');
    const struct user_option *o = user_option_find(name);
    if (!o) {
        DEFER_FREE char *unknown = slice_dup(slice_head(name, 100));
        complain(t, "unknown option \"", unknown, "\"");
        return;
    }
    bool *seen = &t->seen[o - user_options];
    const bool has_value = slice_find(option, '=') < option.n;
    const bool is_flag = o->kind == USER_OPTION_FLAG;
    if (*seen && o->kind != USER_OPTION_SEVERAL)
        complain(t, o->name, "= stands twice, it needs ", o->needs);
    else if (is_flag == has_value || !o->take(t->user, value, t->arena))
        complain(t, o->name, is_flag ? " needs " : "= needs ", o->needs);
    *seen = true;
}

bool user_options_take(struct user *u, struct slice options, struct arena *a,
                       void (*say)(void *ctx, const char *problem), void *ctx)
{
    struct taking t = {.user = u, .arena = a, .say = say, .ctx = ctx, .ok = true};
    while (options.n) {
        struct slice option = slice_trim(slice_cut(&options, ','));
        if (option.n)
            take_one(&t, option);
    }
    if (u->limit.burst && !u->limit.recipients)
        complain(&t, "burst", "= needs ", "a rate= beside it");
    if (!u->limit.burst)
        u->limit.burst = u->limit.recipients;
    return t.ok;
}
