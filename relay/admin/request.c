#include "relay/admin/request.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <stddef.h>
#include <stdio.h>

enum { TEXT_MAX = 1024, ID_MAX = 64 };

/* ---- tables ---- */

enum {
    ARG_FILTER = 1,
    ARG_LIMIT = 2,
    ARG_AFTER = 4,
    ARG_COUNT = 8,
    ARG_ID = 16,
    ARG_HEADERS = 32,
    ARG_ALL = 64,
    ARG_DRY_RUN = 128,
    ARG_REASON = 256,
    ARG_IMPORT = 512,
    ARG_RECIPIENTS = 1024,
    ARG_DATA = 2048,
    ARG_REPAIR = 4096,
    ARG_SORT = 8192,
    ARG_BRIEF = 16384,
    ARG_ADDRESS = 32768,
    ARG_FOR = 65536,
    ARG_DESTINATION = 131072,
    ARG_PRIORITY = 262144,
    ARG_USER = 524288,
    ARG_WHOSE = 1048576, /* id or address */
    ARG_PROBE = 2097152,
    ARG_TRACE = 4194304,
    ONLY_LOOKS = 1 << 30, /* no argument: who may look may ask it */
    ARGS_CHANGE = ARG_FILTER | ARG_ALL | ARG_DRY_RUN | ARG_REASON
};

static const struct {
    const char *name;
    unsigned args;
} verbs[] = {
    [VERB_STATUS] = {"status", ONLY_LOOKS},
    [VERB_SUMMARY] = {"queue.summary", ONLY_LOOKS},
    [VERB_LIST] = {"queue.list", ARG_FILTER | ARG_LIMIT | ARG_AFTER | ARG_COUNT | ARG_BRIEF |
                                     ARG_SORT | ONLY_LOOKS},
    [VERB_SHOW] = {"queue.show", ARG_ID | ONLY_LOOKS},
    [VERB_CAT] = {"queue.cat", ARG_ID | ARG_HEADERS},
    [VERB_EXPORT] = {"queue.export", ARG_FILTER},
    [VERB_IMPORT_BEGIN] = {"import.begin", ARG_IMPORT},
    [VERB_IMPORT_RECIPIENTS] = {"import.recipients", ARG_RECIPIENTS},
    [VERB_IMPORT_DATA] = {"import.data", ARG_DATA},
    [VERB_IMPORT_END] = {"import.end", 0},
    [VERB_SPOOL_CHECK] = {"spool.check", ARG_REPAIR},
    [VERB_RETRY] = {"queue.retry", ARGS_CHANGE},
    [VERB_REMOVE] = {"queue.remove", ARGS_CHANGE},
    [VERB_HOLD] = {"queue.hold", ARGS_CHANGE},
    [VERB_RELEASE] = {"queue.release", ARGS_CHANGE},
    [VERB_BOUNCE] = {"queue.bounce", ARGS_CHANGE},
    [VERB_EXPIRE] = {"queue.expire", ARGS_CHANGE},
    [VERB_REDIRECT] = {"queue.redirect", ARGS_CHANGE | ARG_DESTINATION},
    [VERB_PRIORITY] = {"queue.priority", ARGS_CHANGE | ARG_PRIORITY},
    [VERB_RELOAD] = {"reload", 0},
    [VERB_DRAIN] = {"drain", 0},
    [VERB_STOP] = {"stop", 0},
    [VERB_LOG_REOPEN] = {"log.reopen", 0},
    [VERB_LOG_ROTATE] = {"log.rotate", 0},
    [VERB_CLIENT_LIST] = {"client.list", ONLY_LOOKS},
    [VERB_CLIENT_BAN] = {"client.ban", ARG_ADDRESS | ARG_FOR | ARG_REASON},
    [VERB_CLIENT_ALLOW] = {"client.allow", ARG_ADDRESS},
    [VERB_SUPPRESS_LIST] = {"suppress.list", ARG_ADDRESS | ARG_USER | ARG_LIMIT | ONLY_LOOKS},
    [VERB_SUPPRESS_ADD] = {"suppress.add", ARG_RECIPIENTS},
    [VERB_SUPPRESS_REMOVE] = {"suppress.remove", ARG_RECIPIENTS},
    [VERB_DESTINATION_LIST] = {"destination.list", ONLY_LOOKS},
    [VERB_DESTINATION_SUSPEND] = {"destination.suspend", ARG_DESTINATION | ARG_FOR | ARG_REASON},
    [VERB_DESTINATION_RESUME] = {"destination.resume", ARG_DESTINATION},
    [VERB_EXPLAIN] = {"explain", ARG_WHOSE | ONLY_LOOKS},
    [VERB_PROBE] = {"explain.probe", ARG_WHOSE | ARG_PROBE},
    [VERB_TRACE] = {"trace", ARG_TRACE | ONLY_LOOKS},
};

/* How a value is read. `at` is where it goes, of the kind's type. */
struct arg {
    const char *name;
    bool (*read)(const json_t *v, void *at);
    const char *wants;
    size_t at;
    unsigned bit; /* arguments only */
};

static bool read_bool(const json_t *v, void *at)
{
    *(bool *)at = json_is_true(v);
    return json_is_boolean(v);
}

static bool read_u64(const json_t *v, void *at)
{
    json_int_t n = json_integer_value(v);
    *(uint64_t *)at = n > 0 ? (uint64_t)n : 0;
    return json_is_integer(v) && n >= 0;
}

static bool read_seconds(const json_t *v, void *at)
{
    /* A filter's 0 means no condition; "older than nothing" is one second, which all but the newest
     * are. */
    json_int_t n = json_integer_value(v);
    *(int64_t *)at = n > 0 ? n : 1;
    return json_is_integer(v) && n >= 0 && n <= INT64_C(1) << 40;
}

static bool read_u32(const json_t *v, void *at)
{
    json_int_t n = json_integer_value(v);
    *(uint32_t *)at = n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
    return json_is_integer(v) && n >= 0 && n <= UINT32_MAX;
}

static struct slice text_of(const json_t *v)
{
    return slice_of(json_string_value(v), json_string_length(v));
}

static bool read_text(const json_t *v, void *at)
{
    struct buf *b = at;
    if (!json_is_string(v))
        return false;
    buf_done(b);
    buf_init(b, TEXT_MAX);
    return buf_add(b, text_of(v)) && b->n > 0;
}

static bool read_tag(const json_t *v, void *at)
{
    const struct slice s = text_of(v);
    const size_t key = slice_find(s, '=');
    return key > 0 && key < s.n && read_text(v, at);
}

/* "" is the null reverse-path, and so is something else than nothing. */
static bool read_sender(const json_t *v, void *at)
{
    struct import_args *a = at;
    a->has_sender = true;
    return json_is_string(v) && (json_string_length(v) == 0 || read_text(v, &a->sender));
}

/* "" is something else than nothing: no destination by name. */
static bool read_destination(const json_t *v, void *at)
{
    struct request *r = at;
    r->has_destination = json_is_string(v);
    return r->has_destination && (json_string_length(v) == 0 || read_text(v, &r->destination));
}

static bool read_priority(const json_t *v, void *at)
{
    struct request *r = at;
    r->has_priority = asked_read_priority(v, &r->priority);
    r->import.asked.params.priority = r->priority;
    return r->has_priority;
}

/* Kept beyond the line; the count of its owners is what changes in it. */
static bool keep(const json_t *v, bool right_type, json_t **to)
{
    json_decref(*to);
    *to = right_type ? json_incref((json_t *)(uintptr_t)v) : NULL;
    return right_type;
}

static bool read_array(const json_t *v, void *at)
{
    return keep(v, json_is_array(v), at);
}

static bool read_data(const json_t *v, void *at)
{
    return keep(v, json_is_string(v), at);
}

static bool read_id(const json_t *v, void *at)
{
    return json_is_string(v) && queue_id_parse(text_of(v), at);
}

static bool read_place(const json_t *v, void *at)
{
    return json_is_string(v) && place_parse(text_of(v), at);
}

static bool read_sort(const json_t *v, void *at)
{
    static const char *const names[] = {
        [SORT_DUE] = "due", [SORT_AGE] = "age", [SORT_SIZE] = "size"};
    for (unsigned i = SORT_DUE; i < sizeof names / sizeof *names; i++)
        if (slice_eq(text_of(v), slice_str(names[i]))) {
            *(enum queue_sort *)at = (enum queue_sort)i;
            return true;
        }
    return false;
}

static unsigned state_bit(struct slice s)
{
    static const char *const names[] = {"ready", "waiting", "held", "active"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_eq(s, slice_str(names[i])))
            return 1U << i;
    return 0;
}

/* "held", or several: "ready|waiting". */
static bool read_states(const json_t *v, void *at)
{
    unsigned *states = at;
    struct slice rest = text_of(v);
    *states = 0;
    while (rest.n > 0) {
        unsigned bit = state_bit(slice_cut(&rest, '|'));
        if (!bit)
            return false;
        *states |= bit;
    }
    return *states != 0;
}

/* "4xx" or "450". */
static bool read_code(const json_t *v, void *at)
{
    unsigned *code = at;
    struct slice s = text_of(v);
    uint64_t n;
    bool group = s.n == 3 && slice_ieq(slice_skip(s, 1), SLICE_LIT("xx"));
    if (!json_is_string(v) || s.n != 3 || !slice_u64(slice_head(s, group ? 1 : 3), 599, &n))
        return false;
    *code = (unsigned)n;
    return n >= (group ? 2 : 200);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* A list without ids matches nothing: id 0 is nobody's. */
static bool read_ids(const json_t *v, void *at)
{
    struct queue_filter *f = at;
    size_t n = json_array_size(v);
    if (!json_is_array(v))
        return false;
    free(f->ids);
    f->ids = must_alloc((n ? n : 1) * sizeof *f->ids);
    f->n_ids = n ? n : 1;
    for (size_t i = 0; i < n; i++)
        if (!read_id(json_array_get(v, i), &f->ids[i]))
            return false;
    qsort(f->ids, f->n_ids, sizeof *f->ids, compare_ids);
    return true;
}

#define IN_FILTER(field) offsetof(struct queue_filter, field)
static const struct arg filter_args[] = {
    {"id", read_ids, "a list of queue ids such as 001MF7BDBW000", 0, 0},
    {"from", read_text, "a pattern", IN_FILTER(from), 0},
    {"to", read_text, "a pattern", IN_FILTER(to), 0},
    {"user", read_text, "a name", IN_FILTER(user), 0},
    {"destination", read_text, "a name", IN_FILTER(destination), 0},
    {"site", read_text, "a name", IN_FILTER(site), 0},
    {"reply", read_text, "a text", IN_FILTER(reply), 0},
    {"tag", read_tag, "KEY=PATTERN", IN_FILTER(tag), 0},
    {"state", read_states, "ready, waiting, held or active", IN_FILTER(states), 0},
    {"older_than_s", read_seconds, "seconds", IN_FILTER(older_than_s), 0},
    {"newer_than_s", read_seconds, "seconds", IN_FILTER(newer_than_s), 0},
    {"attempts_ge", read_u32, "a number", IN_FILTER(attempts_ge), 0},
    {"code", read_code, "a code such as 450, or 4xx", IN_FILTER(code), 0},
    {"size_ge", read_u64, "octets", IN_FILTER(size_ge), 0},
};

static bool read_filter(const json_t *v, void *at);

#define IN_REQUEST(field) offsetof(struct request, field)
static const struct arg request_args[] = {
    {"filter", read_filter, "an object", IN_REQUEST(filter), ARG_FILTER},
    {"limit", read_u64, "a number", IN_REQUEST(limit), ARG_LIMIT | ARG_TRACE},
    {"after", read_place, "what `next` said", IN_REQUEST(after), ARG_AFTER},
    {"sort", read_sort, "due, age or size", IN_REQUEST(sort), ARG_SORT},
    {"count", read_bool, "true or false", IN_REQUEST(count), ARG_COUNT},
    {"brief", read_bool, "true or false", IN_REQUEST(brief), ARG_BRIEF},
    {"id", read_id, "a queue id such as 001MF7BDBW000", IN_REQUEST(message),
     ARG_ID | ARG_WHOSE | ARG_TRACE},
    {"headers", read_bool, "true or false", IN_REQUEST(headers), ARG_HEADERS},
    {"all", read_bool, "true or false", IN_REQUEST(all), ARG_ALL},
    {"dry_run", read_bool, "true or false", IN_REQUEST(dry_run), ARG_DRY_RUN},
    {"reason", read_text, "a text of at most 1,024 bytes", IN_REQUEST(reason), ARG_REASON},
    {"sender", read_sender, "an address, or \"\"", IN_REQUEST(import), ARG_IMPORT | ARG_PROBE},
    {"no_rcpt", read_bool, "true or false", IN_REQUEST(no_rcpt), ARG_PROBE},
    {"user", read_text, "a name", IN_REQUEST(import.user),
     ARG_IMPORT | ARG_USER | ARG_WHOSE | ARG_TRACE},
    {"envid", read_text, "a text", IN_REQUEST(import.envid), ARG_IMPORT},
    {"was", read_text, "a queue id", IN_REQUEST(import.was), ARG_IMPORT},
    {"size", read_u64, "octets", IN_REQUEST(import.size), ARG_IMPORT},
    {"expires_s", read_seconds, "seconds", IN_REQUEST(import.expires_s), ARG_IMPORT},
    {"hold", read_bool, "true or false", IN_REQUEST(import.hold), ARG_IMPORT},
    {"submit", read_bool, "true or false", IN_REQUEST(import.submit), ARG_IMPORT},
    {"delay_told", read_bool, "true or false", IN_REQUEST(import.delay_told), ARG_IMPORT},
    {"body", asked_read_body, "8BITMIME or BINARYMIME", IN_REQUEST(import.asked.params.body),
     ARG_IMPORT},
    {"ret", asked_read_ret, "FULL or HDRS", IN_REQUEST(import.asked.params.ret), ARG_IMPORT},
    {"by", asked_read_by, "R or N", IN_REQUEST(import.asked.params.by), ARG_IMPORT},
    {"by_trace", read_bool, "true or false", IN_REQUEST(import.asked.params.by_trace), ARG_IMPORT},
    {"deadline", asked_read_time, "a time such as 2026-01-02T03:04:05Z",
     IN_REQUEST(import.asked.by_deadline), ARG_IMPORT},
    {"release", asked_read_time, "a time such as 2026-01-02T03:04:05Z",
     IN_REQUEST(import.asked.release), ARG_IMPORT},
    {"smtputf8", read_bool, "true or false", IN_REQUEST(import.asked.params.smtputf8), ARG_IMPORT},
    {"requiretls", read_bool, "true or false", IN_REQUEST(import.asked.params.requiretls),
     ARG_IMPORT},
    {"tls_optional", read_bool, "true or false", IN_REQUEST(import.asked.params.tls_optional),
     ARG_IMPORT},
    {"priority", read_priority, "a number from -9 to 9", 0, ARG_IMPORT | ARG_PRIORITY},
    {"destination", read_destination, "a name, or \"\"", 0, ARG_DESTINATION},
    {"tags", asked_read_tags, "at most 16 texts by name, each shorter than 256 bytes",
     IN_REQUEST(import.asked.tags), ARG_IMPORT},
    {"route", read_text, "a name", IN_REQUEST(import.asked.route), ARG_IMPORT},
    {"address", read_text, "an address", IN_REQUEST(address), ARG_ADDRESS | ARG_WHOSE},
    {"for_s", read_seconds, "seconds", IN_REQUEST(for_s), ARG_FOR | ARG_TRACE},
    {"from", read_text, "a pattern", IN_REQUEST(filter.from), ARG_TRACE},
    {"to", read_text, "a pattern", IN_REQUEST(filter.to), ARG_TRACE},
    {"site", read_text, "a name", IN_REQUEST(filter.site), ARG_TRACE},
    {"client", read_text, "an address or a network", IN_REQUEST(address), ARG_TRACE},
    {"repair", read_bool, "true or false", IN_REQUEST(repair), ARG_REPAIR},
    {"recipients", read_array, "a list", IN_REQUEST(recipients), ARG_RECIPIENTS},
    {"data_base64", read_data, "base 64", IN_REQUEST(data), ARG_DATA},
};

/* ---- reading by table ---- */

static bool say(struct problem *p, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool say(struct problem *p, const char *code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    p->code = code;
    vsnprintf(p->message, sizeof p->message, fmt, ap);
    va_end(ap);
    return false;
}

static const struct arg *find_arg(const struct arg *rows, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

/* `unsigned mask`: which rows may be used (0: all). */
static bool read_object(json_t *object, const struct arg *rows, size_t n, unsigned mask,
                        const char *what, void *base, struct problem *p)
{
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v)
    {
        const struct arg *a = find_arg(rows, n, key);
        if (!a || (a->bit && !(a->bit & mask)))
            return say(p, "usage", "%s has no %.40s", what, key);
        if (!a->read(v, (char *)base + a->at))
            return p->code ? false : say(p, "usage", "%s: %s takes %s", what, key, a->wants);
    }
    return true;
}

static bool read_filter(const json_t *v, void *at)
{
    (void)at;
    return json_is_object(v); /* read by request_parse, which can say what is wrong in it */
}

static enum verb verb_of(const char *name)
{
    for (unsigned i = VERB_STATUS; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return (enum verb)i;
    return VERB_NONE;
}

static bool is_empty(const struct queue_filter *f)
{
    return f->n_ids == 0 && f->from.n == 0 && f->to.n == 0 && f->user.n == 0 &&
           f->destination.n == 0 && f->site.n == 0 && f->reply.n == 0 && f->tag.n == 0 &&
           f->states == 0 && f->older_than_s == 0 && f->newer_than_s == 0 && f->attempts_ge == 0 &&
           f->code == 0 && f->size_ge == 0;
}

static bool check(const struct request *r, struct problem *p)
{
    unsigned args = verbs[r->verb].args;
    if ((args & ARG_ID) && r->message == 0)
        return say(p, "usage", "%s needs an id", verbs[r->verb].name);
    if ((args & ARG_WHOSE) && (r->message == 0) == (r->address.n == 0))
        return say(p, "usage", "%s needs an id or an address", verbs[r->verb].name);
    if ((args & ARG_IMPORT) &&
        (!r->import.has_sender || !r->import.size || (!r->import.expires_s && !r->import.submit)))
        return say(p, "usage", "%s needs sender, size and (without submit) expires_s",
                   verbs[r->verb].name);
    if (((args & ARG_RECIPIENTS) && !r->recipients) || ((args & ARG_DATA) && !r->data))
        return say(p, "usage", "%s without %s", verbs[r->verb].name,
                   args & ARG_DATA ? "data_base64" : "recipients");
    if ((args & ARG_DESTINATION) && !r->has_destination)
        return say(p, "usage", "%s needs a destination", verbs[r->verb].name);
    if ((args & ARG_PRIORITY) && !r->has_priority)
        return say(p, "usage", "%s needs a priority", verbs[r->verb].name);
    if ((args & ARG_ALL) && !r->all && is_empty(&r->filter))
        return say(p, "usage", "%s without a filter needs \"all\": true", verbs[r->verb].name);
    if (r->sort && r->after.id)
        return say(p, "usage",
                   "a sorted listing has no cursor: sort and after contradict each other");
    if (r->sort && r->limit > ADMIN_SORT_MAX)
        return say(p, "usage", "a sorted listing has at most %d rows", ADMIN_SORT_MAX);
    return true;
}

bool request_word_is(const char *word, const char *const *of, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, of[i]) == 0)
            return true;
    return false;
}

/* A word that is spelled wrongly is not passed over: what it was to say would be left out. */
static bool has_only_known(json_t *top, struct problem *p)
{
    static const char *const known[] = {"id", "verb", "args"};
    const char *key;
    json_t *v;
    json_object_foreach(top, key, v)
    {
        if (!request_word_is(key, known, sizeof known / sizeof *known))
            return say(p, "usage", "a request has id, verb and args, and no %.40s", key);
    }
    return true;
}

static bool hopeless(struct problem *p, const char *why)
{
    p->hopeless = true;
    return say(p, "usage", "not a request: %s", why);
}

bool request_parse(struct slice line, struct request *ret, struct problem *ret_problem)
{
    struct problem *p = ret_problem;
    json_error_t why;
    *ret = (struct request){0};
    *p = (struct problem){0};
    json_t *top = json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(top)) {
        bool bad_json = !top;
        json_decref(top);
        return hopeless(p, bad_json ? why.text : "an object is wanted");
    }
    json_t *id = json_object_get(top, "id"), *args = json_object_get(top, "args");
    const char *verb = json_string_value(json_object_get(top, "verb"));
    bool ok = false;
    if (json_is_integer(id) || (json_is_string(id) && json_string_length(id) <= ID_MAX))
        ret->id = json_incref(id);
    if (!ret->id)
        hopeless(p, "id must be a number or a short string");
    else if (!verb)
        hopeless(p, "verb is missing");
    else if ((ret->verb = verb_of(verb)) == VERB_NONE)
        say(p, "usage", "no verb is called %.60s", verb);
    else if (args && !json_is_object(args))
        say(p, "usage", "%s: args must be an object", verb);
    else
        ok = has_only_known(top, p) &&
             read_object(args, request_args, sizeof request_args / sizeof *request_args,
                         verbs[ret->verb].args, verb, ret, p) &&
             read_object(json_object_get(args, "filter"), filter_args,
                         sizeof filter_args / sizeof *filter_args, 0, "filter", &ret->filter, p) &&
             check(ret, p);
    json_decref(top);
    return ok;
}

bool request_changes(enum verb v)
{
    return (verbs[v].args & ARGS_CHANGE) == ARGS_CHANGE;
}

bool request_looks(enum verb v)
{
    return verbs[v].args & ONLY_LOOKS;
}

void request_done(struct request *r)
{
    json_decref(r->id);
    buf_done(&r->reason);
    buf_done(&r->address);
    buf_done(&r->destination);
    buf_done(&r->import.sender);
    buf_done(&r->import.user);
    buf_done(&r->import.envid);
    buf_done(&r->import.was);
    asked_done(&r->import.asked);
    json_decref(r->recipients);
    json_decref(r->data);
    queue_filter_done(&r->filter);
    *r = (struct request){0};
}

/* ---- places ---- */

void place_write(struct place p, char ret_text[PLACE_SIZE])
{
    char id[QUEUE_ID_SIZE];
    queue_id_write(p.id, id);
    snprintf(ret_text, PLACE_SIZE, "%s.%u", id, p.rcpt);
}

bool place_parse(struct slice s, struct place *ret)
{
    struct slice rest = s, id = slice_cut(&rest, '.');
    struct place p;
    uint64_t rcpt;
    if (!queue_id_parse(id, &p.id) || p.id == 0 || !slice_u64(rest, UINT32_MAX, &rcpt))
        return false;
    p.rcpt = (uint32_t)rcpt;
    *ret = p;
    return true;
}
