#include "relay/smtp/watch.h"
#include "relay/base/must.h"
#include <stdlib.h>

/* What the client's bytes are. */
enum state {
    COMMANDS,
    CONTENT, /* from DATA on, up to the dot: whether 354 has come is the server's to know */
    CHUNK,
    LOGIN
};

enum awaited { ANY, AUTH, DATA };

struct line {
    uint8_t kept[WATCH_LINE_MAX];
    size_t n;
    uint64_t octets; /* without the line end */
    bool any;        /* begun */
};

struct smtp_watch {
    enum state state;
    struct line lines[2];
    uint64_t hidden; /* of content so far */
    uint64_t chunk;  /* octets that are left of it */
    unsigned dot;    /* of CR LF . CR LF: how much stands behind us */
    uint8_t awaited[WATCH_AWAITED_MAX];
    size_t first, n;
    bool lost;                  /* too many are awaited: who answers what is not known any more */
    struct smtp_hidden secrets; /* of what was hidden */
};

struct smtp_watch *smtp_watch_new(void)
{
    return smtp_watch_new_within(1 /* the greeting */, NULL);
}

struct smtp_watch *smtp_watch_new_within(size_t awaited, const struct smtp_hidden *said)
{
    struct smtp_watch *w = must_alloc(sizeof *w);
    if (said)
        w->secrets = *said;
    w->lost = awaited > WATCH_AWAITED_MAX;
    w->n = w->lost ? WATCH_AWAITED_MAX : awaited;
    memset(w->awaited, ANY, w->n);
    return w;
}

void smtp_watch_free(struct smtp_watch *w)
{
    if (!w)
        return;
    explicit_bzero(w, sizeof *w);
    free(w);
}

void smtp_watch_tls(struct smtp_watch *w)
{
    w->lines[WATCH_CLIENT].n = w->lines[WATCH_SERVER].n = 0;
    w->lines[WATCH_CLIENT].any = w->lines[WATCH_SERVER].any = false;
    w->lines[WATCH_CLIENT].octets = w->lines[WATCH_SERVER].octets = 0;
    w->state = COMMANDS;
    w->n = w->first = 0;
    w->lost = false;
}

static void await(struct smtp_watch *w, enum awaited what)
{
    if (w->n == WATCH_AWAITED_MAX)
        w->lost = true;
    else
        w->awaited[(w->first + w->n++) % WATCH_AWAITED_MAX] = (uint8_t)what;
}

/* --- what is hidden */

static void tell_hidden(enum watch_who who, enum watch_verb verb, const char *words, uint64_t n,
                        watch_fn *fn, void *ctx)
{
    fn(ctx, &(struct watch_line){.who = who, .verb = verb, .text = slice_str(words), .hidden = n});
}

/* --- the client's lines */

static struct slice first_word(struct slice line)
{
    struct slice rest = slice_trim(line);
    return slice_cut(&rest, ' ');
}

static bool is_verb(struct slice word)
{
    static const char *const verbs[] = {"EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA",
                                        "BDAT", "RSET", "NOOP", "QUIT", "HELP", "STARTTLS",
                                        "VRFY", "EXPN", "ETRN", "AUTH"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (slice_ieq(word, slice_str(verbs[i])))
            return true;
    return false;
}

/* Only a name that is one: what stands there may be anything. */
static const char *auth_words(struct slice mechanism)
{
    static const char *const words[] = {
        "AUTH PLAIN",       "AUTH LOGIN",         "AUTH CRAM-MD5",
        "AUTH SCRAM-SHA-1", "AUTH SCRAM-SHA-256", "AUTH SCRAM-SHA-256-PLUS",
        "AUTH XOAUTH2",     "AUTH OAUTHBEARER",   "AUTH EXTERNAL"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (slice_ieq(mechanism, slice_str(words[i] + strlen("AUTH "))))
            return words[i];
    return "AUTH";
}

static void take_auth(struct smtp_watch *w, struct slice line, uint64_t octets, watch_fn *fn,
                      void *ctx)
{
    struct slice rest = slice_trim(line);
    slice_cut(&rest, ' ');
    rest = slice_trim(rest);
    struct slice mechanism = slice_cut(&rest, ' ');
    const char *words = auth_words(mechanism);
    if (strcmp(words, "AUTH") == 0)
        smtp_hidden_add(&w->secrets, mechanism);
    smtp_hidden_add_login(&w->secrets, slice_trim(rest));
    uint64_t shown = strlen(words);
    tell_hidden(WATCH_CLIENT, WATCH_OTHER, words, octets > shown ? octets - shown : 0, fn, ctx);
    await(w, AUTH);
    w->state = LOGIN;
}

static void begin_chunk(struct smtp_watch *w, struct slice line)
{
    struct slice rest = slice_trim(line);
    slice_cut(&rest, ' ');
    rest = slice_trim(rest);
    struct slice digits = slice_cut(&rest, ' ');
    await(w, ANY);
    /* A size that is none: what follows is anybody's guess, and so is hidden for good. */
    if (!slice_u64(digits, UINT64_MAX / 2, &w->chunk))
        w->chunk = UINT64_MAX;
    w->state = w->chunk > 0 ? CHUNK : COMMANDS;
    w->hidden = 0;
}

static struct slice path_in(struct slice line)
{
    struct slice rest = slice_skip(line, slice_find(line, '<') + 1);
    size_t n = slice_find(rest, '>');
    return n < rest.n ? slice_head(rest, n) : SLICE_NONE;
}

static void take_command(struct smtp_watch *w, struct slice line, uint64_t octets, watch_fn *fn,
                         void *ctx)
{
    const struct slice verb = first_word(line);
    struct watch_line l = {.who = WATCH_CLIENT, .text = line, .hidden = octets - line.n};
    if (slice_ieq(verb, SLICE_LIT("AUTH"))) {
        take_auth(w, line, octets, fn, ctx);
        return;
    }
    if (!is_verb(verb) || w->lost) {
        smtp_hidden_add_login(&w->secrets, line);
        await(w, ANY);
        tell_hidden(WATCH_CLIENT, WATCH_OTHER, "", octets, fn, ctx);
        return;
    }
    if (slice_ieq(verb, SLICE_LIT("MAIL")) || slice_ieq(verb, SLICE_LIT("RCPT"))) {
        l.verb = slice_ieq(verb, SLICE_LIT("MAIL")) ? WATCH_MAIL : WATCH_RCPT;
        l.path = path_in(line);
    } else if (slice_ieq(verb, SLICE_LIT("RSET"))) {
        l.verb = WATCH_RSET;
    }
    fn(ctx, &l);
    if (slice_ieq(verb, SLICE_LIT("BDAT"))) {
        begin_chunk(w, line);
    } else if (slice_ieq(verb, SLICE_LIT("DATA"))) {
        await(w, DATA);
        w->state = CONTENT;
        w->hidden = 0;
        w->dot = 2; /* at the beginning of a line */
    } else {
        await(w, ANY);
    }
}

static void take_client_line(struct smtp_watch *w, struct slice line, uint64_t octets, watch_fn *fn,
                             void *ctx)
{
    if (w->state == LOGIN) {
        smtp_hidden_add_login(&w->secrets, slice_trim(line));
        tell_hidden(WATCH_CLIENT, WATCH_OTHER, "", octets, fn, ctx);
    } else {
        take_command(w, line, octets, fn, ctx);
    }
}

/* --- the server's lines */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The last line of a reply: its code; 0: it is none. */
static unsigned code_of(struct slice line)
{
    if (line.n < 3 || !is_digit(line.p[0]) || !is_digit(line.p[1]) || !is_digit(line.p[2]) ||
        (line.n > 3 && line.p[3] == '-'))
        return 0;
    return (line.p[0] - '0') * 100U + (line.p[1] - '0') * 10U + (line.p[2] - '0');
}

static void end_content(struct smtp_watch *w, watch_fn *fn, void *ctx)
{
    w->state = COMMANDS;
    if (w->hidden)
        tell_hidden(WATCH_CLIENT, WATCH_END, "", w->hidden, fn, ctx);
    w->hidden = 0;
}

static void replied(struct smtp_watch *w, unsigned code, watch_fn *fn, void *ctx)
{
    if (w->n == 0)
        return;
    enum awaited what = (enum awaited)w->awaited[w->first];
    if (what == AUTH && code == 334)
        return;
    w->first = (w->first + 1) % WATCH_AWAITED_MAX;
    w->n--;
    if (what == AUTH && w->state == LOGIN)
        w->state = COMMANDS;
    else if (what == DATA && code != 354 && w->state == CONTENT)
        end_content(w, fn, ctx);
}

static void take_server_line(struct smtp_watch *w, struct slice line, uint64_t octets, watch_fn *fn,
                             void *ctx)
{
    const unsigned code = code_of(line);
    if (code == 334 || (w->state == LOGIN && slice_starts(line, SLICE_LIT("334"))))
        tell_hidden(WATCH_SERVER, WATCH_OTHER, "334", octets - 3, fn, ctx);
    else if (smtp_hidden_in(&w->secrets, line))
        tell_hidden(WATCH_SERVER, WATCH_OTHER, "", octets, fn, ctx);
    else
        fn(ctx, &(struct watch_line){.who = WATCH_SERVER, .text = line, .hidden = octets - line.n});
    if (code)
        replied(w, code, fn, ctx);
}

/* --- bytes */

/* Returns how many are taken: up to and with a line end. */
static size_t take_line_bytes(struct smtp_watch *w, enum watch_who who, struct slice in,
                              watch_fn *fn, void *ctx)
{
    struct line *l = &w->lines[who];
    size_t n = slice_find(in, '\n');
    size_t room = sizeof l->kept - l->n, keep = n < room ? n : room;
    memcpy(l->kept + l->n, in.p, keep);
    l->n += keep;
    l->octets += n;
    l->any = true;
    if (n == in.n)
        return n;
    /* A CR at the end of what was kept of a longer line is no line end. */
    if (l->n > 0 && l->n == l->octets && l->kept[l->n - 1] == '\r') {
        l->n--;
        l->octets--;
    }
    struct slice line = slice_of(l->kept, l->n);
    uint64_t octets = l->octets;
    (who == WATCH_CLIENT ? take_client_line : take_server_line)(w, line, octets, fn, ctx);
    explicit_bzero(l->kept, l->n);
    l->n = 0;
    l->octets = 0;
    l->any = false;
    return n + 1;
}

/* Up to and with the dot's line end. */
static size_t take_content(struct smtp_watch *w, struct slice in, watch_fn *fn, void *ctx)
{
    static const uint8_t end[] = {'\r', '\n', '.', '\r', '\n'};
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        w->hidden++;
        if (c == end[w->dot])
            w->dot++;
        else
            w->dot = c == '\r' ? 1 : 0;
        if (w->dot < sizeof end)
            continue;
        end_content(w, fn, ctx);
        await(w, ANY);
        return i + 1;
    }
    return in.n;
}

static size_t take_chunk(struct smtp_watch *w, struct slice in, watch_fn *fn, void *ctx)
{
    size_t n = in.n < w->chunk ? in.n : (size_t)w->chunk;
    w->chunk -= w->chunk == UINT64_MAX ? 0 : n;
    w->hidden += n;
    if (w->chunk == 0)
        end_content(w, fn, ctx);
    return n;
}

void smtp_watch_bytes(struct smtp_watch *w, enum watch_who who, struct slice in, watch_fn *fn,
                      void *ctx)
{
    while (in.n > 0) {
        size_t n;
        if (who == WATCH_CLIENT && w->state == CONTENT)
            n = take_content(w, in, fn, ctx);
        else if (who == WATCH_CLIENT && w->state == CHUNK)
            n = take_chunk(w, in, fn, ctx);
        else
            n = take_line_bytes(w, who, in, fn, ctx);
        in = slice_skip(in, n);
    }
}
