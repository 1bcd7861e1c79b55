/*
 * The session around its commands: bytes are consumed only while nothing is asked, nothing is left
 * to pull and the output is short; every answer, and every end of content, passes at_rest(), where
 * a shutdown or a client that has gone takes effect.
 */
#include "relay/smtp/server.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/smtp/server_priv.h"

enum { TIMEOUT_DEFAULT_MS = 300000 };

/* ---- ends ---- */

void server_forget(struct smtp_server *s)
{
    s->in_transaction = s->smtputf8 = s->binary = false;
    s->rcpts = 0;
    s->content.bdat = false;
}

void server_abort(struct smtp_server *s)
{
    if (s->in_transaction)
        server_push(s, SRV_ABORT);
    server_forget(s);
}

/* The open question is taken back: from the queue when the driver has not seen it (it is always the
 * last there). */
static void drop_question(struct smtp_server *s)
{
    if (s->question == ASKED_NOTHING)
        return;
    const enum smtp_server_act last = s->queued ? s->queue[s->queued - 1].act : SRV_CLOSE;
    const bool unseen =
        last == SRV_ASK_AUTH || last == SRV_ASK_MAIL || last == SRV_ASK_RCPT || last == SRV_BODY;
    if (unseen)
        s->queued--;
    else if (s->question == ASKED_MAIL)
        s->in_transaction = true; /* the driver may have begun one: ABORT tells it */
    s->question = ASKED_NOTHING;
}

void server_close(struct smtp_server *s)
{
    if (s->state == SERVER_END)
        return;
    drop_question(s);
    server_abort(s);
    s->state = SERVER_END;
    line_wipe(&s->line);
    server_push(s, SRV_CLOSE);
}

/* Between two commands. */
static void at_rest(struct smtp_server *s)
{
    const bool between =
        s->state == SERVER_COMMAND || s->state == SERVER_AUTH || s->state == SERVER_GREETING;
    if (s->question != ASKED_NOTHING || !between)
        return;
    s->path_known = false;
    if (s->eof)
        server_close(s);
    else if (s->stopping)
        server_give_up(s, SAY_SHUTDOWN);
}

/* ---- bytes in ---- */

static void greet(struct smtp_server *s)
{
    const struct smtp_server_conf *conf = s->conf;
    DEFER(buf_done) struct buf text = BUF_MAX(SERVER_TEXT_MAX);
    buf_add(&text, conf->hostname);
    buf_add_u8(&text, ' ');
    buf_add(&text, conf->banner.n ? conf->banner : SLICE_LIT("ESMTP postwain"));
    struct smtp_reply greeting = {220, {0}, buf_slice(&text)};
    server_reply(s, &greeting);
    s->state = SERVER_COMMAND;
    s->wait_from = s->now;
}

struct smtp_server *smtp_server_new(const struct smtp_server_conf *conf, bool tls, struct mono now)
{
    struct smtp_server *s = must_alloc(sizeof *s);
    s->conf = conf;
    s->tls = tls;
    s->verb = VERB_UNKNOWN;
    s->begun = s->now = s->wait_from = s->step_from = now;
    line_init(&s->line);
    s->out = BUF_MAX(SERVER_OUT_MAX);
    s->helo = BUF_MAX(SERVER_HELO_MAX);
    s->text = BUF_MAX(SERVER_DECODED_MAX);
    s->detail = BUF_MAX(2 * SERVER_TEXT_MAX);
    s->content.reply_text = BUF_MAX(SERVER_TEXT_MAX);
    s->state = SERVER_GREETING;
    if (conf->greeting_delay_ms <= 0)
        greet(s);
    return s;
}

void smtp_server_free(struct smtp_server *s)
{
    if (!s)
        return;
    line_done(&s->line);
    buf_done(&s->out);
    buf_done(&s->helo);
    buf_done(&s->text);
    buf_done(&s->detail);
    buf_done(&s->content.reply_text);
    free(s);
}

static bool takes_bytes(const struct smtp_server *s)
{
    return s->state != SERVER_TLS && s->state != SERVER_END && s->question == ASKED_NOTHING &&
           s->queued == 0 && s->out.n <= SERVER_OUT_STOP;
}

static void bad_auth_line(struct smtp_server *s, enum line_event event)
{
    s->state = SERVER_COMMAND;
    server_push(s, SRV_AUTH_CANCELLED);
    server_refuse(s, event == LINE_LONG ? SAY_AUTH_LONG : SAY_BAD_LINE_END);
}

/* A line that held a password is wiped as soon as nobody needs it. */
static void line_over(struct smtp_server *s)
{
    buf_done(&s->text);
    if (s->verb == VERB_AUTH)
        line_wipe(&s->line);
    else
        line_next(&s->line);
}

static size_t command_bytes(struct smtp_server *s, struct slice in)
{
    enum line_event event;
    const bool auth = s->state == SERVER_AUTH;
    const size_t n = line_read(&s->line, in, auth, &event);
    if (event == LINE_MORE)
        return n;
    s->wait_from = s->now;
    s->path_known = false;
    if (event == LINE_ENDLESS)
        server_give_up(s, SAY_LINE_ENDLESS);
    else if (!auth)
        server_command(s, event, n < in.n);
    else if (event == LINE_WHOLE)
        server_auth_response(s);
    else
        bad_auth_line(s, event);
    if (s->question == ASKED_NOTHING)
        line_over(s);
    return n;
}

/* The time of an answer was not always told: waiting starts with the first call that tells it. */
static void tell_time(struct smtp_server *s, struct mono now)
{
    s->now = now;
    if (!s->resumed)
        return;
    s->resumed = false;
    s->wait_from = s->rate_from = now;
    s->rate_octets = 0;
}

size_t smtp_server_bytes(struct smtp_server *s, struct slice in, struct mono now)
{
    tell_time(s, now);
    size_t took = 0;
    while (took < in.n && takes_bytes(s)) {
        struct slice rest = slice_skip(in, took);
        if (s->state == SERVER_GREETING) {
            server_give_up(s, SAY_EARLY);
            took += rest.n;
        } else if (s->state == SERVER_DATA || s->state == SERVER_CHUNK) {
            s->wait_from = now;
            took += server_content_bytes(s, rest);
        } else {
            took += command_bytes(s, rest);
        }
        at_rest(s);
    }
    return took;
}

/* ---- actions and answers ---- */

bool smtp_server_next(struct smtp_server *s, struct smtp_server_action *ret)
{
    if (s->queued == 0)
        return false;
    *ret = (struct smtp_server_action){.act = s->queue[0].act};
    if (ret->act == SRV_ASK_AUTH) {
        ret->mechanism = s->mechanism;
        ret->response = s->response;
        ret->has_response = s->has_response;
    } else if (ret->act == SRV_BODY) {
        ret->body = s->content.piece;
    } else if (ret->act == SRV_REFUSED) {
        ret->refused = s->queue[0].reply;
    }
    if (ret->act == SRV_ASK_MAIL || (ret->act == SRV_REFUSED && s->queue[0].mail))
        ret->mail = &s->mail;
    if (ret->act == SRV_ASK_RCPT || (ret->act == SRV_REFUSED && s->queue[0].rcpt))
        ret->rcpt = &s->rcpt;
    s->queued--;
    memmove(s->queue, s->queue + 1, s->queued * sizeof *s->queue);
    return true;
}

static void auth_answered(struct smtp_server *s, const struct smtp_reply *r)
{
    s->state = r->code == 334 ? SERVER_AUTH : SERVER_COMMAND;
    s->authenticated = r->code == 235;
    s->auth_failures += r->code >= 500;
    if (s->conf->max_auth_failures && s->auth_failures >= s->conf->max_auth_failures)
        server_give_up(s, SAY_AUTH_TOO_MANY);
}

/* A refused MAIL brings no message forward either. */
static void mail_answered(struct smtp_server *s, bool yes)
{
    const struct smtp_server_conf *conf = s->conf;
    s->in_transaction = yes;
    s->step_from = yes ? s->now : s->step_from;
    s->smtputf8 = yes && s->mail.params.smtputf8;
    s->binary = yes && s->mail.params.body == MAIL_BODY_BINARYMIME;
    if (!yes && conf->max_idle && ++s->idle > conf->max_idle)
        server_give_up(s, SAY_TOO_MANY_IDLE);
}

/* Who tries one address after the other hears at some time that it is enough. */
static void rcpt_answered(struct smtp_server *s, const struct smtp_reply *r)
{
    s->rcpts += r->code / 100 == 2;
    if (r->code >= 500)
        (void)server_count_refused(s);
}

static void commit_answered(struct smtp_server *s, bool yes)
{
    s->state = SERVER_COMMAND;
    s->step_from = s->now;
    server_forget(s);
    s->messages++;
    if (yes)
        s->errors = s->idle = s->unknown = s->refused = 0;
}

void smtp_server_answer(struct smtp_server *s, const struct smtp_reply *reply, struct mono now)
{
    tell_time(s, now);
    const enum server_question q = s->question;
    if (q == ASKED_NOTHING)
        return; /* the session ended meanwhile */
    MUST(q != ASKED_BODY);
    const bool yes = reply->code / 100 == 2;
    s->question = ASKED_NOTHING;
    s->wait_from = now;
    s->path_known = false;
    server_reply(s, reply);
    if (q == ASKED_AUTH) {
        auth_answered(s, reply);
    } else if (q == ASKED_MAIL) {
        mail_answered(s, yes);
    } else if (q == ASKED_RCPT) {
        rcpt_answered(s, reply);
    } else {
        commit_answered(s, yes);
    }
    line_over(s);
    if (reply->code == 421)
        server_close(s);
    at_rest(s);
}

void smtp_server_body_taken(struct smtp_server *s, struct mono now)
{
    tell_time(s, now);
    if (s->question != ASKED_BODY)
        return;
    s->question = ASKED_NOTHING;
    s->wait_from = now;
    s->rate_from = mono_add(s->rate_from, now.ms - s->asked_at.ms);
    s->step_from = mono_add(s->step_from, now.ms - s->asked_at.ms);
    server_content_settle(s);
    at_rest(s);
}

void smtp_server_body_refuse(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (s->question == ASKED_COMMIT) {
        smtp_server_answer(s, reply, s->now);
        return;
    }
    if (s->state != SERVER_DATA && s->state != SERVER_CHUNK)
        return;
    drop_question(s);
    s->resumed = true;
    server_content_doom_by_driver(s, reply);
    server_content_settle(s);
    at_rest(s);
}

void smtp_server_tls_started(struct smtp_server *s, struct mono now)
{
    tell_time(s, now);
    if (s->state != SERVER_TLS)
        return;
    s->state = SERVER_COMMAND;
    s->tls = true;
    s->esmtp = s->authenticated = false;
    s->wait_from = now;
    buf_reset(&s->helo);
    at_rest(s);
}

void smtp_server_eof(struct smtp_server *s)
{
    s->eof = true;
    if (s->question != ASKED_COMMIT)
        server_close(s);
}

void smtp_server_shutdown(struct smtp_server *s, struct mono now)
{
    tell_time(s, now);
    s->stopping = true;
    at_rest(s);
}

/* ---- output and time ---- */

struct slice smtp_server_output(const struct smtp_server *s)
{
    return buf_slice(&s->out);
}

void smtp_server_sent(struct smtp_server *s, size_t n)
{
    buf_drop(&s->out, n);
}

/* Nothing but the end of what is waited for moves it: a command is whole in time however its bytes
 * come (checklist 50). Content has a least rate beside it. */
static struct mono wait_deadline(const struct smtp_server *s)
{
    if (s->state == SERVER_GREETING)
        return mono_add(s->begun, s->conf->greeting_delay_ms);
    const int64_t ms =
        server_in_content(s) ? s->conf->data_timeout_ms : s->conf->command_timeout_ms;
    return mono_add(s->wait_from, ms > 0 ? ms : TIMEOUT_DEFAULT_MS);
}

static struct mono login_deadline(const struct smtp_server *s)
{
    const struct smtp_server_conf *conf = s->conf;
    if (!conf->auth_required || s->authenticated || conf->login_timeout_ms <= 0)
        return MONO_NEVER;
    return mono_add(s->begun, conf->login_timeout_ms);
}

/* However much it moves: many recipients, content a little above the least rate, commands that are
 * refused. */
static struct mono step_deadline(const struct smtp_server *s)
{
    const int64_t ms = s->conf->message_timeout_ms;
    return ms > 0 ? mono_add(s->step_from, ms) : MONO_NEVER;
}

struct mono smtp_server_deadline(const struct smtp_server *s)
{
    if (s->question != ASKED_NOTHING || s->state == SERVER_END)
        return MONO_NEVER;
    struct mono t = mono_min(mono_min(wait_deadline(s), login_deadline(s)), step_deadline(s));
    return server_in_content(s) ? mono_min(t, server_content_deadline(s)) : t;
}

static void give_up_waiting(struct smtp_server *s, enum situation what)
{
    if (s->state == SERVER_TLS)
        server_close(s); /* nothing in clear may be said any more */
    else
        server_give_up(s, what);
}

void smtp_server_tick(struct smtp_server *s, struct mono now)
{
    tell_time(s, now);
    if (s->question != ASKED_NOTHING || s->state == SERVER_END)
        return;
    s->path_known = false;
    const bool waited = mono_reached(wait_deadline(s), now);
    if (mono_reached(login_deadline(s), now))
        give_up_waiting(s, SAY_LOGIN_LATE);
    else if (waited && s->state == SERVER_GREETING)
        greet(s);
    else if (waited)
        give_up_waiting(s, SAY_TIMEOUT);
    else if (mono_reached(step_deadline(s), now))
        give_up_waiting(s, s->in_transaction || server_in_content(s) ? SAY_MESSAGE_LATE
                                                                     : SAY_NO_MESSAGE);
    else if (server_in_content(s) && server_content_too_slow(s))
        server_give_up(s, SAY_TOO_SLOW);
}

/* ---- what is known ---- */

struct slice smtp_server_helo(const struct smtp_server *s)
{
    return buf_slice(&s->helo);
}

bool smtp_server_esmtp(const struct smtp_server *s)
{
    return s->esmtp;
}

bool smtp_server_tls(const struct smtp_server *s)
{
    return s->tls;
}

bool smtp_server_authenticated(const struct smtp_server *s)
{
    return s->authenticated;
}

bool smtp_server_at_ease(const struct smtp_server *s)
{
    const bool between_lines = s->line.text.n == 0 && !s->line.cr && !s->line.skip;
    return s->state == SERVER_COMMAND && s->question == ASKED_NOTHING && s->queued == 0 &&
           s->out.n == 0 && between_lines;
}
