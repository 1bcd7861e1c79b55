#include "relay/base/defer.h"
#include "relay/base/utf8.h"
#include "relay/smtp/client_priv.h"

#define PARAMS_MAX 4096 /* of one command; what does not fit is left out */
#define PATH_MAX_BYTES                                                                             \
    1024 /* far above RFC 5321's 256: the peer may judge, our output stays bounded */

static client_reply_fn on_greeted, on_ehlo, on_ehlo_refused, on_helo, on_session_refused,
    on_starttls, on_starttls_refused, on_logged_in, on_rset, on_rset_refused, on_mail,
    on_mail_refused, on_rcpt, on_rcpt_refused, on_data, on_data_refused, on_chunk, on_chunk_refused,
    on_delivered, on_eod_refused, on_nothing;

const struct phase_row client_phases[STEP_COUNT] = {
#define X(name, phase_, seconds_, sends_, class_, good_, bad_)                                     \
    [STEP_##name] = {PHASE_##phase_, seconds_,   {(const uint8_t *)(sends_), sizeof(sends_) - 1},  \
                     class_,         on_##good_, on_##bad_},
#include "relay/smtp/phases.def"
#undef X
};

/* ---- hello ---- */

static void on_greeted(struct smtp_client *c, const struct awaited *a,
                       const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    c->next = STEP_EHLO;
}

/* After the last word that the peer has to say about itself. */
static void hello_said(struct smtp_client *c)
{
    bool settled = c->tls || c->conf->tls == SMTP_TLS_NONE ||
                   (c->conf->tls == SMTP_TLS_MAY && !c->peer.starttls);
    if (c->meets_itself)
        client_over(c, verdict_of_fault(FAULT_LOOP, PHASE_EHLO, SLICE_NONE), true);
    else if (settled && c->conf->login)
        client_login_due(c);
    else if (settled)
        c->stage = STAGE_READY;
    else if (c->peer.starttls)
        c->next = STEP_STARTTLS;
    else
        client_over(c, verdict_of_fault(FAULT_TLS_UNAVAILABLE, PHASE_EHLO, SLICE_NONE), true);
}

static void on_ehlo(struct smtp_client *c, const struct awaited *a, const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    c->peer.esmtp = true;
    hello_said(c);
}

static void on_helo(struct smtp_client *c, const struct awaited *a, const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    hello_said(c);
}

static void on_session_refused(struct smtp_client *c, const struct awaited *a,
                               const struct smtp_reply *reply)
{
    client_over(c, smtp_trouble_by(c->conf, client_phases[a->step].phase, reply), true);
}

static void on_ehlo_refused(struct smtp_client *c, const struct awaited *a,
                            const struct smtp_reply *reply)
{
    bool needs_tls = c->conf->tls >= SMTP_TLS_ENCRYPT && !c->tls;
    if (reply->code < 500 || needs_tls || c->conf->login)
        on_session_refused(c, a, reply);
    else
        c->next = STEP_HELO;
}

static void on_starttls(struct smtp_client *c, const struct awaited *a,
                        const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    c->stage = STAGE_HANDSHAKE;
    client_act(c, CLI_STARTTLS);
}

static void on_starttls_refused(struct smtp_client *c, const struct awaited *a,
                                const struct smtp_reply *reply)
{
    DEFER(buf_done) struct buf why = BUF_MAX(16 + SMTP_REPLY_TEXT_MAX);
    buf_addf(&why, "%u ", reply->code);
    buf_add(&why, reply->text);
    enum phase phase = client_phases[a->step].phase;
    client_over(c, verdict_of_fault(FAULT_TLS_HANDSHAKE, phase, buf_slice(&why)), true);
}

static void on_logged_in(struct smtp_client *c, const struct awaited *a,
                         const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    c->logged_in = true;
    c->stage = STAGE_READY;
}

/* ---- envelope ---- */

/* No byte of an address may end the command, or its path and begin a parameter. */
static bool can_be_sent(struct slice path)
{
    bool quoted = false;
    if (!utf8_valid(path))
        return false;
    for (size_t i = 0; i < path.n; i++) {
        uint8_t b = path.p[i];
        if (b < ' ' || b == 127)
            return false;
        if (quoted && b == '\\' && i + 1 < path.n && path.p[i + 1] >= ' ' && path.p[i + 1] <= '~')
            i++;
        else if (b == '"')
            quoted = !quoted;
        else if (!quoted && (b == '<' || b == '>' || b == ' '))
            return false;
    }
    return !quoted && path.n <= PATH_MAX_BYTES;
}

/* The first recipient from `i` on without verdict, or their number. */
static size_t undecided(const struct smtp_client *c, size_t i)
{
    while (i < c->n_verdicts && c->verdicts[i].kind != VERDICT_NONE)
        i++;
    return i;
}

static void settle_fault(struct smtp_client *c, enum fault f, enum phase phase, struct slice detail)
{
    DEFER(verdict_done) struct verdict v = verdict_of_fault(f, phase, detail);
    client_settle(c, &v);
}

/* Whom this host cannot serve; whether the others' transaction is SMTPUTF8 follows. */
static void settle_lacking(struct smtp_client *c)
{
    const struct smtp_client_txn *t = &c->txn;
    c->utf8 = client_needs_utf8(t, CLIENT_SENDER);
    for (size_t i = 0; i < t->n_rcpts; i++) {
        enum fault lacks = client_lacks(c, t, i);
        if (c->verdicts[i].kind != VERDICT_NONE)
            continue;
        if (lacks != FAULT_NONE)
            c->verdicts[i] = verdict_of_fault(lacks, PHASE_EHLO, SLICE_NONE);
        else
            c->utf8 = c->utf8 || client_needs_utf8(t, i);
    }
}

/* RFC 9422 section 4.2: not more than the peer said that it takes. */
static void settle_too_many(struct smtp_client *c)
{
    uint64_t n = 0;
    for (size_t i = 0; i < c->n_verdicts && c->peer.rcpt_max > 0; i++) {
        if (c->verdicts[i].kind == VERDICT_NONE && n++ >= c->peer.rcpt_max)
            c->verdicts[i] = verdict_of_fault(FAULT_RCPT_LIMIT, PHASE_RCPT, SLICE_NONE);
    }
}

void client_begin_envelope(struct smtp_client *c, struct mono now)
{
    const struct smtp_client_txn *t = &c->txn;
    const struct slice bad_path = SLICE_LIT("the address cannot be written in SMTP");
    if (c->peer.max_size > 0 && t->size > c->peer.max_size)
        settle_fault(c, FAULT_TOO_BIG, PHASE_MAIL, SLICE_NONE);
    if (!can_be_sent(t->sender))
        settle_fault(c, FAULT_LOCAL, PHASE_MAIL, bad_path);
    for (size_t i = 0; i < t->n_rcpts; i++) {
        if (c->verdicts[i].kind == VERDICT_NONE &&
            (t->rcpts[i].n == 0 || !can_be_sent(t->rcpts[i])))
            c->verdicts[i] = verdict_of_fault(FAULT_LOCAL, PHASE_RCPT, bad_path);
    }
    settle_lacking(c);
    settle_too_many(c);
    c->content = client_content_of(c);
    c->at_once = client_may_go_at_once(c, now);
    c->dots = (struct dot_writer){.chunked = client_in_chunks(c)};
    c->next_rcpt = undecided(c, 0);
    if (c->next_rcpt == c->n_verdicts && c->front.open)
        c->cursor = CURSOR_END; /* it ends behind the one in front */
    else if (c->next_rcpt == c->n_verdicts)
        client_txn_done(c);
    client_go_on(c, now);
}

static void say_mail(struct smtp_client *c, struct mono now)
{
    DEFER(buf_done) struct buf params = BUF_MAX(PARAMS_MAX);
    client_mail_params(c, &params);
    const struct slice words[] = {client_phases[STEP_MAIL].sends, c->txn.sender, SLICE_LIT(">"),
                                  buf_slice(&params)};
    client_say(c, STEP_MAIL, 0, words, 4, now);
    c->n_mails++;
    c->cursor = CURSOR_RCPT;
}

static void say_rcpt(struct smtp_client *c, struct mono now)
{
    DEFER(buf_done) struct buf params = BUF_MAX(PARAMS_MAX);
    client_rcpt_params(c, c->next_rcpt, &params);
    const struct slice words[] = {client_phases[STEP_RCPT].sends, c->txn.rcpts[c->next_rcpt],
                                  SLICE_LIT(">"), buf_slice(&params)};
    client_say(c, STEP_RCPT, c->next_rcpt, words, 4, now);
    c->next_rcpt = undecided(c, c->next_rcpt + 1);
    if (c->next_rcpt == c->n_verdicts)
        c->cursor = CURSOR_DATA;
}

static bool may_say(const struct smtp_client *c)
{
    if (c->ahead_n == 0)
        return true;
    return c->peer.pipelining && c->ahead[c->ahead_head].step != STEP_RSET &&
           c->ahead_n < AHEAD_MAX && c->ahead_bytes < AHEAD_BYTES_MAX;
}

static void say_simple(struct smtp_client *c, enum step step, struct mono now)
{
    client_say(c, step, 0, &client_phases[step].sends, 1, now);
}

static void say_envelope(struct smtp_client *c, struct mono now)
{
    while (c->cursor != CURSOR_END && may_say(c)) {
        if (c->cursor == CURSOR_RSET) {
            say_simple(c, STEP_RSET, now);
            c->cursor = CURSOR_MAIL;
        } else if (c->cursor == CURSOR_MAIL) {
            say_mail(c, now);
        } else if (c->cursor == CURSOR_RCPT) {
            say_rcpt(c, now);
        } else if (c->txn.rehearsal) {
            c->cursor = CURSOR_END;
        } else if (client_in_chunks(c)) {
            if (c->ahead_n > 0 && !c->at_once) /* it may be for nothing */
                return;
            c->cursor = CURSOR_END;
            if (c->ahead_n > 0 || c->n_accepted > 0)
                c->stage = STAGE_CONTENT;
        } else {
            /* All replies are here and none is yes: there is nothing to send. */
            if (c->ahead_n > 0 || c->n_accepted > 0)
                say_simple(c, STEP_DATA, now);
            c->cursor = CURSOR_END;
        }
    }
    if (c->stage == STAGE_ENVELOPE && c->cursor == CURSOR_END && c->ahead_n == 0)
        client_txn_done(c);
}

static void on_rset(struct smtp_client *c, const struct awaited *a, const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    c->mail_open = false;
}

/* Says nothing about the mail, whatever its code. */
static void on_rset_refused(struct smtp_client *c, const struct awaited *a,
                            const struct smtp_reply *reply)
{
    (void)a;
    struct verdict v = smtp_trouble_by(c->conf, PHASE_EHLO, reply);
    v.phase = PHASE_MAIL;
    client_over(c, v, true);
}

static void on_mail(struct smtp_client *c, const struct awaited *a, const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    c->mail_open = true;
}

static void decide_all(struct smtp_client *c, const struct awaited *a,
                       const struct smtp_reply *reply)
{
    DEFER(verdict_done)
    struct verdict v = smtp_trouble_by(c->conf, client_phases[a->step].phase, reply);
    client_settle(c, &v);
}

static void on_mail_refused(struct smtp_client *c, const struct awaited *a,
                            const struct smtp_reply *reply)
{
    decide_all(c, a, reply);
    c->cursor = CURSOR_END; /* the replies to what is written already are still awaited */
    if (c->stage == STAGE_CONTENT)
        c->stage = STAGE_ENVELOPE;
}

static void on_rcpt(struct smtp_client *c, const struct awaited *a, const struct smtp_reply *reply)
{
    (void)reply;
    if (c->verdicts[a->rcpt].kind == VERDICT_NONE)
        c->n_accepted++;
}

static void on_rcpt_refused(struct smtp_client *c, const struct awaited *a,
                            const struct smtp_reply *reply)
{
    if (c->verdicts[a->rcpt].kind == VERDICT_NONE)
        c->verdicts[a->rcpt] = smtp_trouble_by(c->conf, PHASE_RCPT, reply);
}

/* ---- content ---- */

static void on_data(struct smtp_client *c, const struct awaited *a, const struct smtp_reply *reply)
{
    (void)a, (void)reply;
    c->stage = STAGE_CONTENT;
    c->lone_dot = c->n_accepted == 0;
}

static void on_data_refused(struct smtp_client *c, const struct awaited *a,
                            const struct smtp_reply *reply)
{
    decide_all(c, a, reply);
}

static void want_content(struct smtp_client *c, struct mono now)
{
    if (client_in_chunks(c) && c->n_accepted == 0 && !client_envelope_is_open(c)) {
        c->stage = STAGE_ENVELOPE; /* nobody was taken while the content was on its way here */
        say_envelope(c, now);
    } else if (c->lone_dot) {
        c->stage = STAGE_DOT;
        client_say(c, STEP_EOD, 0, (const struct slice[]){SLICE_LIT(".")}, 1, now);
    } else if (client_wants_body(c)) {
        c->asked = true;
        client_act(c, CLI_BODY);
    }
}

/* It takes recipients and does not know, or want, the command it offered. What it makes of the
 * octets behind it is anybody's guess: not a word more. */
static bool knows_no_chunks(struct smtp_client *c, const struct smtp_reply *reply)
{
    bool open = c->n_accepted > 0 && undecided(c, 0) < c->n_verdicts;
    if (!client_in_chunks(c) || !open || reply->code < 500 || reply->code > 504)
        return false;
    client_over(c, verdict_of_fault(FAULT_CHUNKING, PHASE_DATA, reply->text), false);
    return true;
}

/* Before its octets have left: what the peer makes of them is anybody's guess. */
static bool is_early(const struct smtp_client *c, const struct awaited *a)
{
    return a->end > c->gone;
}

static void on_chunk(struct smtp_client *c, const struct awaited *a, const struct smtp_reply *reply)
{
    if (is_early(c, a)) /* a stray yes: those behind it would be taken for another's */
        client_over(c, verdict_of_fault(FAULT_SMTP_PROTOCOL, PHASE_DATA, reply->text), false);
}

/* The rest of the content is for nothing; chunks that are said already have their replies yet. */
static void on_chunk_refused(struct smtp_client *c, const struct awaited *a,
                             const struct smtp_reply *reply)
{
    if (knows_no_chunks(c, reply))
        return;
    if (is_early(c, a)) {
        client_over(c, smtp_trouble_by(c->conf, PHASE_DATA, reply), false);
        return;
    }
    decide_all(c, a, reply);
    if (c->stage == STAGE_CONTENT)
        c->stage = STAGE_ENVELOPE; /* at CURSOR_END */
}

/* The reply to the dot in front of the transaction under way. */
static void end_front(struct smtp_client *c, const struct smtp_reply *reply)
{
    DEFER(verdict_done)
    struct verdict v = smtp_trouble_by(c->conf, PHASE_EOD, reply);
    client_front_done(c, &v);
}

static void on_delivered(struct smtp_client *c, const struct awaited *a,
                         const struct smtp_reply *reply)
{
    if (c->front.open) {
        end_front(c, reply);
        return;
    }
    if (smtp_client_output(c).n > 0) {
        /* Nobody can have read the dot: a stray yes, which must not count as delivery. */
        client_over(c, verdict_of_fault(FAULT_SMTP_PROTOCOL, PHASE_EOD, reply->text), false);
        return;
    }
    decide_all(c, a, reply);
    c->mail_open = false;
    client_txn_done(c);
}

static void on_eod_refused(struct smtp_client *c, const struct awaited *a,
                           const struct smtp_reply *reply)
{
    if (c->front.open) {
        end_front(c, reply);
        return;
    }
    if (knows_no_chunks(c, reply))
        return;
    if (smtp_client_output(c).n > 0) {
        /* Before the whole content went: what the peer makes of the rest is anybody's guess. */
        client_over(c, smtp_trouble_by(c->conf, PHASE_EOD, reply), false);
        return;
    }
    decide_all(c, a, reply);
    /* A last chunk for nobody is refused as a command; the sender may be kept. */
    c->mail_open = c->mail_open && client_in_chunks(c) && c->n_accepted == 0;
    client_txn_done(c);
}

static void on_nothing(struct smtp_client *c, const struct awaited *a,
                       const struct smtp_reply *reply)
{
    (void)c, (void)a, (void)reply;
}

/* ---- what is next ---- */

static void say_hello(struct smtp_client *c, struct mono now)
{
    if (c->next == STEP_STARTTLS) {
        say_simple(c, STEP_STARTTLS, now);
        return;
    }
    c->peer = (struct smtp_peer){0};
    const struct slice words[] = {client_phases[c->next].sends, c->conf->helo};
    client_say(c, c->next, 0, words, 2, now);
}

void client_go_on(struct smtp_client *c, struct mono now)
{
    /* A reply nobody waits for has begun: it is heard out first. */
    if (c->ahead_n == 0 && smtp_reply_parser_busy(&c->parser))
        return;
    if (c->stage == STAGE_HELLO && c->ahead_n == 0) {
        say_hello(c, now);
    } else if (c->stage == STAGE_ENVELOPE) {
        say_envelope(c, now);
    }
    if (c->stage == STAGE_CONTENT)
        want_content(c, now);
    if (c->stage == STAGE_READY && !c->told_ready) {
        c->told_ready = true;
        client_renew(c, now);
        client_act(c, CLI_READY);
    }
}
