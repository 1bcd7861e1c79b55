#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/smtp/client_priv.h"
#include <stdlib.h>

/* A block of content in the sense of the BLOCK row: a peer that takes less in its time has stopped
 * reading. */
#define BLOCK_BYTES (16U << 10)
/* Of the memory of the output, what an idle session keeps. */
#define OUT_KEPT (16U << 10)

struct smtp_client *smtp_client_new(const struct smtp_client_conf *conf, struct mono now)
{
    struct smtp_client *c = must_alloc(sizeof *c);
    c->conf = conf;
    c->tls = conf->tls_on;
    c->out = BUF_MAX(SIZE_MAX / 4);
    smtp_reply_parser_init(&c->parser);
    client_say(c, STEP_BANNER, 0, NULL, 0, now);
    return c;
}

static void free_verdicts(struct verdict *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        verdict_done(&v[i]);
    free(v);
}

static void forget_verdicts(struct smtp_client *c)
{
    free_verdicts(TAKE_PTR(c->verdicts), c->n_verdicts);
    free_verdicts(TAKE_PTR(c->front.verdicts), c->front.n);
    c->n_verdicts = c->front.n = 0;
}

void smtp_client_free(struct smtp_client *c)
{
    if (!c)
        return;
    forget_verdicts(c);
    reencode_free(c->reencode);
    verdict_done(&c->failed);
    smtp_reply_parser_done(&c->parser);
    if (c->secret)
        client_wipe(&c->out);
    client_wipe(&c->initial);
    client_wipe(&c->challenge);
    buf_done(&c->out);
    free(c);
}

const struct smtp_peer *smtp_client_peer(const struct smtp_client *c)
{
    return &c->peer;
}

enum phase smtp_client_phase(const struct smtp_client *c)
{
    if (c->ahead_n > 0)
        return client_phases[c->ahead[c->ahead_head].step].phase;
    switch (c->stage) {
    case STAGE_HELLO:
        return PHASE_EHLO;
    case STAGE_HANDSHAKE:
        return PHASE_STARTTLS;
    case STAGE_LOGIN:
        return PHASE_AUTH;
    case STAGE_ENVELOPE:
        return c->cursor <= CURSOR_MAIL ? PHASE_MAIL : PHASE_RCPT;
    case STAGE_CONTENT:
        return PHASE_DATA;
    case STAGE_DOT:
        return PHASE_EOD;
    case STAGE_READY:
        return c->used ? PHASE_NONE : PHASE_EHLO;
    case STAGE_QUIT:
    case STAGE_OVER:
        return PHASE_NONE;
    }
    return PHASE_NONE;
}

bool smtp_client_at_ease(const struct smtp_client *c, size_t *ret_awaited)
{
    const bool between = c->stage == STAGE_READY || c->stage == STAGE_DOT;
    *ret_awaited = c->ahead_n;
    return between && smtp_client_output(c).n == 0 && !smtp_reply_parser_busy(&c->parser);
}

const struct smtp_hidden *smtp_client_said(const struct smtp_client *c)
{
    return &c->said;
}

/* ---- output and time ---- */

struct slice smtp_client_output(const struct smtp_client *c)
{
    return slice_skip(buf_slice(&c->out), c->out_sent);
}

static void forget_output(struct smtp_client *c)
{
    if (c->secret)
        client_wipe(&c->out);
    c->secret = false;
    buf_reset(&c->out);
    c->out_sent = 0;
}

void smtp_client_sent(struct smtp_client *c, size_t n, struct mono now)
{
    MUST(n <= c->out.n - c->out_sent);
    if (n == 0)
        return;
    c->out_sent += n;
    c->gone += n;
    bool all = c->out_sent == c->out.n;
    if (all)
        forget_output(c);
    c->block_progress += n;
    if ((c->stage == STAGE_CONTENT || c->stage == STAGE_DOT) &&
        (all || c->block_progress >= BLOCK_BYTES))
        client_renew(c, now);
    client_go_on(c, now);
}

void client_renew(struct smtp_client *c, struct mono now)
{
    enum step step;
    if (c->stage == STAGE_READY || c->stage == STAGE_OVER) {
        c->deadline = MONO_NEVER;
        return;
    }
    bool content = c->stage == STAGE_CONTENT || c->stage == STAGE_DOT;
    if (c->stage == STAGE_HANDSHAKE)
        step = STEP_STARTTLS;
    else if (c->stage == STAGE_LOGIN)
        step = STEP_AUTH;
    else if (content && (smtp_client_output(c).n > 0 || c->ahead_n == 0))
        step = STEP_BLOCK;
    else if (c->ahead_n > 0)
        step = c->ahead[c->ahead_head].step;
    else
        return;
    int64_t percent = c->conf->timeout_percent ? c->conf->timeout_percent : 100;
    c->deadline = mono_add(now, client_phases[step].seconds * 10 * percent);
    c->block_progress = 0;
}

struct mono smtp_client_deadline(const struct smtp_client *c)
{
    return c->deadline;
}

void client_say(struct smtp_client *c, enum step step, size_t rcpt, const struct slice *words,
                size_t n, struct mono now)
{
    MUST(c->ahead_n < AHEAD_MAX);
    size_t before = c->out.n;
    for (size_t i = 0; i < n; i++)
        buf_add(&c->out, words[i]);
    if (n > 0)
        buf_add(&c->out, SLICE_LIT("\r\n"));
    MUST(!c->out.overflow);
    struct awaited *a = &c->ahead[(c->ahead_head + c->ahead_n++) % AHEAD_MAX];
    *a = (struct awaited){step, rcpt, c->out.n - before, c->gone + smtp_client_output(c).n};
    c->ahead_bytes += a->bytes;
    if (c->ahead_n == 1)
        client_renew(c, now);
}

/* ---- actions and ends ---- */

static void add_act(struct smtp_client *c, enum smtp_client_act act)
{
    MUST(c->n_acts < sizeof c->acts / sizeof *c->acts);
    c->acts[c->n_acts++] = act;
}

void client_act(struct smtp_client *c, enum smtp_client_act act)
{
    if (act == CLI_READY && c->out.cap > OUT_KEPT && c->out.n == 0)
        buf_done(&c->out);
    add_act(c, act);
}

bool smtp_client_next(struct smtp_client *c, struct smtp_client_action *ret)
{
    if (c->n_acts == 0)
        return false;
    struct smtp_client_action a = {.act = c->acts[0]};
    c->n_acts--;
    memmove(c->acts, c->acts + 1, c->n_acts * sizeof *c->acts);
    if (a.act == CLI_TXN_DONE && c->front.told) {
        c->front.told = false;
        a.verdicts = c->front.verdicts;
        a.n = c->front.n;
        a.reusable = c->front.reusable;
    } else if (a.act == CLI_TXN_DONE) {
        a.verdicts = c->verdicts;
        a.n = c->n_verdicts;
        a.reusable = c->reusable;
    } else if (a.act == CLI_FAILED) {
        a.verdict = &c->failed;
    } else if (a.act == CLI_LOGIN) {
        a.challenged = c->challenged;
        a.challenge = buf_slice(&c->challenge);
    }
    *ret = a;
    return true;
}

static void settle(struct verdict *verdicts, size_t n, const struct verdict *v)
{
    for (size_t i = 0; i < n; i++) {
        if (verdicts[i].kind == VERDICT_NONE)
            verdicts[i] = verdict_copy(v);
    }
}

void client_settle(struct smtp_client *c, const struct verdict *v)
{
    settle(c->verdicts, c->n_verdicts, v);
}

static bool has_no_mail_left(const struct smtp_client *c)
{
    return c->peer.mail_max > 0 && c->n_mails >= c->peer.mail_max; /* RFC 9422 section 4.1 */
}

void client_txn_done(struct smtp_client *c)
{
    if (c->spent || has_no_mail_left(c)) {
        /* All have verdicts. Behind what was taken back nothing can be said: it may be content. */
        client_over(c, (struct verdict){0}, !c->spent);
        return;
    }
    c->stage = STAGE_READY;
    c->told_ready = false;
    c->reusable = true;
    client_act(c, CLI_TXN_DONE);
}

void client_front_done(struct smtp_client *c, const struct verdict *v)
{
    settle(c->front.verdicts, c->front.n, v);
    c->front.open = false;
    c->front.told = c->front.reusable = true;
    client_act(c, CLI_TXN_DONE);
}

/* Of what the driver has not heard yet, only the ends of transactions stay true. */
static void withdraw_acts(struct smtp_client *c)
{
    size_t n = 0;
    while (n < c->n_acts && c->acts[n] == CLI_TXN_DONE)
        n++;
    c->n_acts = n;
    c->reusable = c->front.reusable = false;
}

static void unsettle(struct smtp_client *c)
{
    for (size_t i = 0; i < c->n_verdicts; i++) {
        verdict_done(&c->verdicts[i]);
        c->verdicts[i] = (struct verdict){0};
    }
}

/* The transaction under way ends with the session. While the dot in front of it is unanswered v is
 * that one's, and of this one nothing was decided. Where its replies cannot be told from others,
 * those that it had may have been another's, too. */
static void end_txns(struct smtp_client *c, const struct verdict *v)
{
    DEFER(verdict_done)
    struct verdict lost = verdict_of_fault(FAULT_CONN_LOST, PHASE_MAIL, SLICE_NONE);
    bool undecided = c->front.open;
    if (undecided || (c->behind && v->fault == FAULT_SMTP_PROTOCOL && v->phase <= PHASE_DATA))
        unsettle(c);
    if (undecided) {
        client_front_done(c, v);
        c->front.reusable = false;
    }
    client_settle(c, undecided ? &lost : v);
    client_act(c, CLI_TXN_DONE);
}

void client_over(struct smtp_client *c, struct verdict v, bool quit)
{
    enum stage was = c->stage;
    c->stage = STAGE_OVER;
    c->deadline = MONO_NEVER;
    c->ahead_n = c->ahead_bytes = 0;
    /* Above all the content that is not out yet: no dot may follow it. */
    forget_output(c);
    withdraw_acts(c);
    if (was == STAGE_ENVELOPE || was == STAGE_CONTENT || was == STAGE_DOT) {
        end_txns(c, &v);
    } else if (was == STAGE_HELLO || was == STAGE_HANDSHAKE || was == STAGE_LOGIN ||
               (was == STAGE_READY && !c->used)) {
        c->failed = verdict_copy(&v);
        client_act(c, CLI_FAILED);
    }
    verdict_done(&v);
    if (quit)
        buf_add(&c->out, SLICE_LIT("QUIT\r\n"));
    client_act(c, CLI_CLOSE);
}

void client_over_fault(struct smtp_client *c, enum fault f, struct slice detail)
{
    bool doubt = f == FAULT_CONN_LOST_EOD || f == FAULT_SMTP_TIMEOUT_EOD;
    client_over(c, verdict_of_fault(f, doubt ? PHASE_EOD : smtp_client_phase(c), detail), false);
}

/* The dot may be there and the message with it, also when replies to the envelope are still
 * awaited. (With a lone dot there is nothing left to decide.) */
static bool in_doubt(const struct smtp_client *c)
{
    return c->stage == STAGE_DOT || c->front.open;
}

void smtp_client_lost(struct smtp_client *c, struct slice why, struct mono now)
{
    (void)now;
    if (c->stage == STAGE_OVER)
        return;
    if (c->stage == STAGE_HANDSHAKE)
        client_over_fault(c, FAULT_TLS_HANDSHAKE, why);
    else
        client_over_fault(c, in_doubt(c) ? FAULT_CONN_LOST_EOD : FAULT_CONN_LOST, why);
}

void smtp_client_tick(struct smtp_client *c, struct mono now)
{
    if (c->stage == STAGE_OVER || !mono_reached(c->deadline, now))
        return;
    if (c->stage == STAGE_HANDSHAKE)
        client_over_fault(c, FAULT_TLS_HANDSHAKE, SLICE_LIT("timed out"));
    else
        client_over_fault(c, in_doubt(c) ? FAULT_SMTP_TIMEOUT_EOD : FAULT_SMTP_TIMEOUT, SLICE_NONE);
}

/* ---- replies ---- */

static void protocol_error(struct smtp_client *c)
{
    /* The bytes themselves say most to whoever reads the log. */
    client_over_fault(c, FAULT_SMTP_PROTOCOL, slice_head(buf_slice(&c->parser.raw), 256));
}

/* A reply that no command waits for. An early refusal of content under way means what it says (full
 * or policy-minded servers do it); an early yes cannot, and smtp_trouble knows that. */
static void surplus_reply(struct smtp_client *c, const struct smtp_reply *reply)
{
    if (c->stage == STAGE_CONTENT)
        client_over(c, smtp_trouble_by(c->conf, PHASE_DATA, reply), false);
    else
        protocol_error(c);
}

static void take_reply(struct smtp_client *c, const struct smtp_reply *reply, struct mono now)
{
    if (reply->code == 421) {
        client_over(c, smtp_trouble_by(c->conf, smtp_client_phase(c), reply), false);
        return;
    }
    if (c->ahead_n == 0) {
        surplus_reply(c, reply);
        return;
    }
    struct awaited a = c->ahead[c->ahead_head];
    const struct phase_row *row = &client_phases[a.step];
    unsigned class = reply->code / 100;
    bool challenge = a.step == STEP_AUTH && reply->code == 334;
    if (class != row->class && class != 4 && class != 5 && !challenge) {
        protocol_error(c);
        return;
    }
    c->heard = now;
    c->ahead_head = (c->ahead_head + 1) % AHEAD_MAX;
    c->ahead_n--;
    c->ahead_bytes -= a.bytes;
    if (challenge)
        client_challenged(c, reply, now);
    else
        (class == row->class ? row->good : row->bad)(c, &a, reply);
    client_renew(c, now);
}

/* The first line of the reply to EHLO begins with the peer's name. */
static bool is_own_name(const struct smtp_client *c, struct slice line)
{
    struct slice rest = slice_trim(line), name = slice_cut(&rest, ' ');
    return c->conf->own_name.n > 0 && name.n > 0 &&
           (slice_ieq(name, c->conf->own_name) || slice_ieq(name, c->conf->helo));
}

static void take_line(struct smtp_client *c)
{
    const struct smtp_reply_parser *p = &c->parser;
    if (c->ahead_n == 0 || c->ahead[c->ahead_head].step != STEP_EHLO || p->reply.code / 100 != 2)
        return;
    if (p->lines > 1)
        smtp_ehlo_line(&c->peer, p->line);
    else
        c->meets_itself = is_own_name(c, p->line);
}

/* What follows from a whole reply when `more` bytes are already here behind it. Nothing new is said
 * in front of bytes that nobody asked for: they would be taken for the answer. */
static void after_reply(struct smtp_client *c, bool more, struct mono now)
{
    if (c->stage == STAGE_OVER)
        return;
    if (!more || c->ahead_n > 0)
        client_go_on(c, now);
    else if (c->stage == STAGE_HANDSHAKE || c->n_acts > 0)
        client_over_fault(c, FAULT_SMTP_PROTOCOL, SLICE_LIT("bytes behind its last reply"));
}

size_t smtp_client_bytes(struct smtp_client *c, struct slice in, struct mono now)
{
    struct slice rest = in;
    if (rest.n > 0 && c->stage == STAGE_HANDSHAKE)
        client_over_fault(c, FAULT_SMTP_PROTOCOL, SLICE_LIT("plain text behind STARTTLS"));
    while (rest.n > 0 && c->n_acts == 0 && c->stage != STAGE_OVER) {
        switch (smtp_reply_parse(&c->parser, &rest)) {
        case SMTP_REPLY_MORE:
            break;
        case SMTP_REPLY_LINE:
            take_line(c);
            break;
        case SMTP_REPLY_DONE:
            take_line(c);
            take_reply(c, &c->parser.reply, now);
            after_reply(c, rest.n > 0, now);
            break;
        case SMTP_REPLY_BAD:
            protocol_error(c);
            break;
        }
    }
    return c->stage == STAGE_OVER ? in.n : in.n - rest.n;
}

/* ---- the driver's side ---- */

void smtp_client_tls_done(struct smtp_client *c, enum fault f, struct slice why, struct mono now)
{
    if (c->stage != STAGE_HANDSHAKE)
        return;
    if (f != FAULT_NONE) {
        client_over_fault(c, f, why);
        return;
    }
    c->tls = true;
    c->stage = STAGE_HELLO;
    c->next = STEP_EHLO;
    client_go_on(c, now);
}

void smtp_client_quit(struct smtp_client *c, struct mono now)
{
    if (c->stage != STAGE_READY)
        return;
    (void)now;
    c->stage = STAGE_QUIT;
    client_over(c, (struct verdict){0}, true); /* checklist 70: its reply is not waited for */
}

static void start(struct smtp_client *c, const struct smtp_client_txn *t)
{
    c->verdicts = must_alloc((t->n_rcpts ? t->n_rcpts : 1) * sizeof *c->verdicts);
    c->n_verdicts = t->n_rcpts;
    c->txn = *t;
    c->used = true;
    c->stage = STAGE_ENVELOPE;
    c->cursor = c->mail_open ? CURSOR_RSET : CURSOR_MAIL;
    c->n_accepted = 0;
    c->lone_dot = c->asked = c->behind = false;
    c->given = 0;
    reencode_free(TAKE_PTR(c->reencode));
}

void smtp_client_begin(struct smtp_client *c, const struct smtp_client_txn *t, struct mono now)
{
    MUST(c->stage == STAGE_READY || c->stage == STAGE_OVER);
    bool over = c->stage == STAGE_OVER || smtp_reply_parser_busy(&c->parser);
    forget_verdicts(c);
    start(c, t);
    if (over) /* it ended between READY and now, or a line that nobody waits for has begun */
        client_over_fault(c, FAULT_CONN_LOST, SLICE_NONE);
    else
        client_begin_envelope(c, now);
}

bool smtp_client_takes_another(const struct smtp_client *c)
{
    bool chunks = c->peer.chunking && !c->conf->no_chunking;
    return c->stage == STAGE_DOT && c->peer.pipelining && !chunks && !c->lone_dot && !c->spent &&
           c->ahead_n == 1 && c->n_acts == 0 && smtp_client_output(c).n == 0 &&
           !smtp_reply_parser_busy(&c->parser) && !has_no_mail_left(c);
}

void smtp_client_begin_behind(struct smtp_client *c, const struct smtp_client_txn *t,
                              struct mono now)
{
    MUST(smtp_client_takes_another(c) && !c->front.open && !c->front.told);
    free_verdicts(c->front.verdicts, c->front.n);
    c->front.verdicts = TAKE_PTR(c->verdicts);
    c->front.n = c->n_verdicts;
    c->front.open = true;
    c->mail_open = false; /* the dot ends that one, whatever its reply */
    start(c, t);
    c->behind = true;
    client_begin_envelope(c, now);
}

void smtp_client_take_back(struct smtp_client *c)
{
    if (!c->front.open)
        return;
    free_verdicts(c->verdicts, c->n_verdicts);
    c->verdicts = TAKE_PTR(c->front.verdicts);
    c->n_verdicts = c->front.n;
    c->front.n = 0;
    c->front.open = c->behind = false;
    c->stage = STAGE_DOT;
    c->spent = true;
    forget_output(c);
}
