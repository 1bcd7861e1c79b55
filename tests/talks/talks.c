/* Replays one dialogue file on the server machine: at once, byte by byte and in random pieces. The
 * format: README.md beside this file. */
#include "tests/talks/drive.h"

enum { TALK_MAX = 1 << 20, ANSWERS_MAX = 32, REPEAT_MAX = 4 << 20 };

struct answer {
    enum smtp_server_act act;
    struct smtp_reply reply;
    bool used;
};

struct talk {
    const char *file;
    unsigned line;
    struct smtp_server_conf conf;
    bool implicit_tls, whole_only, begun, actions_told;
    uint64_t split;
    struct drive d;
    struct buf pending; /* said by the client, not yet sent */
    size_t out_at, actions_at;
    struct answer answers[ANSWERS_MAX];
    size_t n_answers;
};

static _Noreturn void wrong(const struct talk *t, const char *what, struct slice a, struct slice b)
{
    fprintf(stderr, "%s:%u: (split %u) %s\n  talk: %.*s\n  here: %.*s\n", t->file, t->line,
            (unsigned)t->split, what, SLICE_ARG(a), SLICE_ARG(b));
    exit(1);
}

static struct smtp_reply answer(struct drive *d, const struct smtp_server_action *a)
{
    struct talk *t = d->ctx;
    for (size_t i = 0; i < t->n_answers; i++)
        if (!t->answers[i].used && t->answers[i].act == a->act) {
            t->answers[i].used = true;
            return t->answers[i].reply;
        }
    return a->act == SRV_BODY ? (struct smtp_reply){0} : drive_answer(d, a);
}

static void begin(struct talk *t)
{
    if (t->begun)
        return;
    t->begun = true;
    drive_init(&t->d, &t->conf, t->implicit_tls);
    t->d.answer = answer;
    t->d.ctx = t;
    drive_pump(&t->d, NULL);
}

/* Sends what the client has said. */
static void flush(struct talk *t)
{
    begin(t);
    drive_split(&t->d, buf_slice(&t->pending), t->split);
    buf_reset(&t->pending);
}

static int hex(uint8_t c)
{
    c = byte_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \r \n \t \0 \\ \xHH */
static void unescape(const struct talk *t, struct slice s, struct buf *out)
{
    static const char names[] = "rnt0\\", bytes[] = "\r\n\t\0\\";
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\\') {
            buf_add_u8(out, s.p[i]);
            continue;
        }
        const uint8_t c = ++i < s.n ? s.p[i] : 0;
        const char *name = c ? strchr(names, c) : NULL;
        if (name) {
            buf_add_u8(out, (uint8_t)bytes[name - names]);
        } else if (c == 'x' && s.n - i > 2 && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            buf_add_u8(out, (uint8_t)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
            i += 2;
        } else {
            wrong(t, "no such escape", s, SLICE_NONE);
        }
    }
}

static uint64_t number(const struct talk *t, struct slice s)
{
    uint64_t n;
    if (!slice_u64(s, INT32_MAX, &n))
        wrong(t, "not a number", s, SLICE_NONE);
    return n;
}

static bool truth(const struct talk *t, struct slice s)
{
    if (!slice_eq(s, SLICE_LIT("yes")) && !slice_eq(s, SLICE_LIT("no")))
        wrong(t, "yes or no?", s, SLICE_NONE);
    return s.n == 3;
}

/* "SIZE DSN …" */
static unsigned extensions(const struct talk *t, struct slice s)
{
    unsigned set = 0;
    while (s.n) {
        struct slice keyword = slice_cut(&s, ' ');
        unsigned one = smtp_extension_find(keyword);
        if (one == 0)
            wrong(t, "no such extension", keyword, SLICE_NONE);
        set |= one;
    }
    return set;
}

/* "key = value" behind "#!" */
static void configure(struct talk *t, struct slice s)
{
    struct slice value = s, key = slice_trim(slice_cut(&value, '='));
    value = slice_trim(value);
    struct smtp_server_conf *c = &t->conf;
#define IS(name) slice_eq(key, SLICE_LIT(name))
    if (t->begun)
        wrong(t, "too late for a setting", s, SLICE_NONE);
    else if (IS("tls"))
        t->implicit_tls = slice_eq(value, SLICE_LIT("implicit")),
        c->starttls = slice_eq(value, SLICE_LIT("starttls"));
    else if (IS("split"))
        t->whole_only = slice_eq(value, SLICE_LIT("whole"));
    else if (IS("hostname"))
        c->hostname = value;
    else if (IS("banner"))
        c->banner = value;
    else if (IS("auth-mechanisms"))
        c->auth_mechanisms = value;
    else if (IS("auth-needs-tls"))
        c->auth_needs_tls = truth(t, value);
    else if (IS("auth-required"))
        c->auth_required = truth(t, value);
    else if (IS("max-message-size"))
        c->max_message_size = number(t, value);
    else if (IS("max-recipients"))
        c->max_recipients = (unsigned)number(t, value);
    else if (IS("max-errors"))
        c->max_errors = (unsigned)number(t, value);
    else if (IS("max-messages"))
        c->max_messages = (unsigned)number(t, value);
    else if (IS("max-auth-failures"))
        c->max_auth_failures = (unsigned)number(t, value);
    else if (IS("max-idle"))
        c->max_idle = (unsigned)number(t, value);
    else if (IS("max-unknown"))
        c->max_unknown = (unsigned)number(t, value);
    else if (IS("max-refused"))
        c->max_refused = (unsigned)number(t, value);
    else if (IS("max-hold"))
        c->max_hold_s = (int64_t)number(t, value);
    else if (IS("min-by"))
        c->min_by_s = (int64_t)number(t, value);
    else if (IS("greeting-delay"))
        c->greeting_delay_ms = (int64_t)number(t, value) * 1000;
    else if (IS("login-timeout"))
        c->login_timeout_ms = (int64_t)number(t, value) * 1000;
    else if (IS("extensions"))
        c->extensions = extensions(t, value);
    else
        wrong(t, "no such setting", key, SLICE_NONE);
#undef IS
}

/* "rcpt 550 5.1.1 no such user" */
static void prepare(struct talk *t, struct slice s)
{
    static const struct {
        const char *name;
        enum smtp_server_act act;
    } kinds[] = {{"auth", SRV_ASK_AUTH},
                 {"mail", SRV_ASK_MAIL},
                 {"rcpt", SRV_ASK_RCPT},
                 {"body", SRV_BODY},
                 {"commit", SRV_COMMIT}};
    struct slice text = s, kind = slice_cut(&text, ' '), code = slice_cut(&text, ' ');
    size_t k = 0;
    while (k < 5 && !slice_eq(kind, slice_str(kinds[k].name)))
        k++;
    if (k == 5 || t->n_answers == ANSWERS_MAX)
        wrong(t, "what question is that, or too many of them?", s, SLICE_NONE);
    flush(t);
    struct answer *a = &t->answers[t->n_answers++];
    *a = (struct answer){.act = kinds[k].act, .reply.code = (uint16_t)number(t, code)};
    size_t n = enhanced_parse(text, &a->reply.enhanced);
    a->reply.text = slice_trim(slice_skip(text, n));
}

/* "C*1000 text" */
static void repeat(struct talk *t, struct slice s)
{
    struct slice text = s;
    const uint64_t times = number(t, slice_cut(&text, ' '));
    if (times * text.n > REPEAT_MAX)
        wrong(t, "too much", s, SLICE_NONE);
    for (uint64_t i = 0; i < times; i++)
        unescape(t, text, &t->pending);
}

static struct slice next_line(const struct buf *b, size_t *at, const char *end)
{
    struct slice rest = slice_skip(buf_slice(b), *at);
    const size_t n = slice_find_slice(rest, slice_str(end));
    *at += n < rest.n ? n + strlen(end) : n;
    return slice_head(rest, n);
}

/* A reply of any number of lines, as "CODE text|text|…"; an enhanced code belongs to the text. */
static void expect_reply(struct talk *t, struct slice pattern)
{
    DEFER(buf_done) struct buf all = BUF_MAX(TALK_MAX);
    flush(t);
    if (t->out_at == t->d.out.n)
        wrong(t, "nothing more came", pattern, SLICE_NONE);
    bool more;
    do {
        struct slice line = next_line(&t->d.out, &t->out_at, "\r\n");
        more = line.n > 3 && line.p[3] == '-' && t->out_at < t->d.out.n;
        if (all.n)
            buf_add_u8(&all, '|');
        else
            buf_addf(&all, "%.*s ", SLICE_ARG(slice_head(line, 3)));
        buf_add(&all, slice_skip(line, 4));
    } while (more);
    if (!slice_glob(pattern, buf_slice(&all)))
        wrong(t, "something else came", pattern, buf_slice(&all));
}

static void expect(struct talk *t, struct slice pattern, const struct buf *b, size_t *at,
                   const char *end)
{
    flush(t);
    if (*at == b->n)
        wrong(t, "nothing more came", pattern, SLICE_NONE);
    struct slice got = next_line(b, at, end);
    if (!slice_glob(pattern, got))
        wrong(t, "something else came", pattern, got);
}

static void event(struct talk *t, struct slice s)
{
    struct slice arg = s, name = slice_cut(&arg, ' ');
    flush(t);
    if (slice_eq(name, SLICE_LIT("eof"))) {
        smtp_server_eof(t->d.s);
    } else if (slice_eq(name, SLICE_LIT("shutdown"))) {
        smtp_server_shutdown(t->d.s, t->d.now);
    } else if (slice_eq(name, SLICE_LIT("wait"))) {
        t->d.now = mono_add(t->d.now, (int64_t)number(t, arg) * 1000);
        if (mono_reached(smtp_server_deadline(t->d.s), t->d.now))
            smtp_server_tick(t->d.s, t->d.now);
    } else if (!slice_eq(name, SLICE_LIT("closed"))) {
        wrong(t, "no such event", s, SLICE_NONE);
    } else if (!t->d.closed) {
        wrong(t, "the session is still open", s, SLICE_NONE);
    }
    drive_pump(&t->d, NULL);
}

static void one_line(struct talk *t, struct slice s)
{
    const struct slice text = slice_skip(s, s.n > 2 && s.p[2] == ' ' ? 3 : 2);
    if (slice_starts(s, SLICE_LIT("#!"))) {
        configure(t, slice_trim(text));
    } else if (s.n == 0 || s.p[0] == '#') {
        return;
    } else if (slice_starts(s, SLICE_LIT("C:"))) {
        unescape(t, text, &t->pending);
        buf_add_str(&t->pending, "\r\n");
    } else if (slice_starts(s, SLICE_LIT("C|"))) {
        unescape(t, text, &t->pending);
    } else if (slice_starts(s, SLICE_LIT("C*"))) {
        repeat(t, slice_skip(s, 2));
    } else if (slice_starts(s, SLICE_LIT("S:"))) {
        expect(t, text, &t->d.out, &t->out_at, "\r\n");
    } else if (slice_starts(s, SLICE_LIT("S+"))) {
        expect_reply(t, text);
    } else if (slice_starts(s, SLICE_LIT("? "))) {
        prepare(t, slice_skip(s, 2));
    } else if (slice_starts(s, SLICE_LIT("! "))) {
        event(t, slice_skip(s, 2));
    } else if (slice_starts(s, SLICE_LIT("> "))) {
        flush(t);
        drive_flush_body(&t->d);
        t->actions_told = true;
        expect(t, slice_skip(s, 2), &t->d.actions, &t->actions_at, "\n");
    } else {
        wrong(t, "no such line", s, SLICE_NONE);
    }
}

static void at_end(struct talk *t)
{
    flush(t);
    drive_flush_body(&t->d);
    if (t->out_at < t->d.out.n)
        wrong(t, "more came than was told", SLICE_NONE,
              slice_skip(buf_slice(&t->d.out), t->out_at));
    if (t->actions_told && t->actions_at < t->d.actions.n)
        wrong(t, "more was done than was told", SLICE_NONE,
              slice_skip(buf_slice(&t->d.actions), t->actions_at));
    for (size_t i = 0; i < t->n_answers; i++)
        if (!t->answers[i].used)
            wrong(t, "an answer was not asked for", t->answers[i].reply.text, SLICE_NONE);
}

/* Returns false when the talk asks not to be split further. */
static bool replay(const char *file, struct slice text, uint64_t split)
{
    struct talk t = {.file = file,
                     .conf = drive_conf(),
                     .split = split,
                     .pending = BUF_MAX(REPEAT_MAX + TALK_MAX)};
    while (text.n) {
        t.line++;
        one_line(&t, slice_cut(&text, '\n'));
        if (t.whole_only && split)
            break;
    }
    if (!t.whole_only || !split)
        at_end(&t);
    if (t.begun)
        drive_done(&t.d);
    buf_done(&t.pending);
    return !t.whole_only;
}

int main(int argc, char **argv)
{
    enum { SPLITS = 12 };
    static uint8_t text[TALK_MAX];
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!f) {
        fprintf(stderr, "usage: talks FILE.talk\n");
        return 2;
    }
    const size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    for (uint64_t split = 0; split < SPLITS && replay(argv[1], slice_of(text, n), split); split++)
        ;
    printf("%s: as told\n", argv[1]);
    return 0;
}
