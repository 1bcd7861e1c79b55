/*
 * The questions of one server session answered by the rules of this room, at once or, where it
 * takes time (passwords, the disk), later: always through session_answer. The driver is
 * relay/net/served.
 */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/inbound/private.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define DATA_TIMEOUT_MS (3 * 60 * 1000)
#define MIN_DATA_RATE 100
#define MAX_ERRORS 20
#define MAX_AUTH_FAILURES 3
#define MAX_IDLE 100   /* commands that bring no message forward, between two messages */
#define MAX_UNKNOWN 10 /* commands that do not exist */
/* Recipients refused, between two messages: a list may be full of bad addresses, and all of it may
 * come again when its sender was refused. */
#define MAX_REFUSED_MORE 1000 /* than a message may have recipients */
#define LOGIN_TIMEOUT_MS (5 * 60 * 1000)

static const struct smtp_reply reply_sender_ok = SMTP_REPLY_INIT(250, 2, 1, 0, "Sender ok");
static const struct smtp_reply reply_rcpt_ok = SMTP_REPLY_INIT(250, 2, 1, 5, "Recipient ok");
static const struct smtp_reply reply_no_access =
    SMTP_REPLY_INIT(530, 5, 7, 0, "Authentication required: this server relays for its users only");
static const struct smtp_reply reply_never = SMTP_REPLY_INIT(
    501, 5, 5, 4, "BY would return the message before HOLDFOR or HOLDUNTIL lets it go");
static const struct smtp_reply reply_no_room =
    SMTP_REPLY_INIT(452, 4, 5, 3, "Too many recipients for one message, send the rest in another");

void session_set_coming(struct session *s, bool coming)
{
    if (coming != s->coming)
        metric_add(M_MESSAGES_COMING, coming ? 1 : -1);
    s->coming = coming;
}

void session_free(struct session *s)
{
    MUST(s->closed && (s->pending == 0 || s->in->freeing));
    session_set_coming(s, false);
    DL_DELETE(s->in->sessions, s);
    intake_abort(s);
    auth_done(&s->auth);
    rules_end(s);
    transaction_done(&s->txn);
    served_done(&s->served);
    tls_context_unref(s->tls);
    conf_unref(s->conf);
    free(s);
}

bool session_back(struct session *s)
{
    MUST(s->pending > 0);
    s->pending--;
    if (s->closed && s->pending == 0) {
        session_free(s);
        return false;
    }
    return true;
}

void session_answer(struct session *s, const struct smtp_reply *r)
{
    served_answer(&s->served, r);
}

void session_forget_message(struct session *s)
{
    session_set_coming(s, false);
    intake_abort(s);
    rules_end(s);
    transaction_reset(&s->txn);
}

static const struct smtp_reply *judge_mail(struct session *s, const struct smtp_mail *m)
{
    session_forget_message(s);
    if (!s->trusted && !smtp_server_authenticated(s->served.smtp))
        return &reply_no_access;
    int disk = spooler_accepting(s->in->shared->spooler);
    if (disk < 0)
        return intake_disk_reply(disk);
    const struct smtp_reply *r = rules_mail(s, m);
    if (r)
        return r;
    switch (transaction_begin(&s->txn, m, wall_now())) {
    case TRANSACTION_FULL:
        return &reply_no_room;
    case TRANSACTION_NEVER:
        return &reply_never;
    case TRANSACTION_OK:
    case TRANSACTION_KNOWN:
        r = rules_begin(s);
        session_set_coming(s, !r);
        return r ? r : &reply_sender_ok;
    }
    UNREACHABLE();
}

/* "postmaster" alone is ours. */
static const struct smtp_reply *judge_rcpt(struct session *s, const struct smtp_rcpt *r)
{
    const bool bare = slice_find(r->path, '@') == r->path.n;
    struct slice address = bare ? slice_str(s->conf->postmaster) : r->path;
    struct slice drop;
    const struct smtp_reply *no = suppressed_rcpt(s, address, &drop);
    if (!no)
        no = rules_rcpt(s);
    if (no)
        return no;
    const enum transaction_answer added = transaction_add(&s->txn, address, r);
    if (added == TRANSACTION_FULL)
        return &reply_no_room;
    if (added == TRANSACTION_OK && drop.n)
        transaction_drop(&s->txn, drop);
    return &reply_rcpt_ok;
}

static void ask_mail(struct session *s, const struct smtp_mail *m)
{
    const struct smtp_reply *r = judge_mail(s, m);
    if (r->code >= 400)
        session_rejected(s, r, m->path, SLICE_NONE);
    session_answer(s, r);
}

static void ask_rcpt(struct session *s, const struct smtp_rcpt *rcpt)
{
    const struct smtp_reply *r = judge_rcpt(s, rcpt);
    if (r->code >= 400)
        session_rejected(s, r, s->txn.sender, rcpt->path);
    session_answer(s, r);
}

static void act(void *ctx, const struct smtp_server_action *a, struct mono now)
{
    struct session *s = ctx;
    switch (a->act) {
    case SRV_ASK_AUTH:
        auth_step(s, a->mechanism, a->response, a->has_response);
        break;
    case SRV_AUTH_CANCELLED:
        auth_reset(&s->auth);
        break;
    case SRV_ASK_MAIL:
        ask_mail(s, a->mail);
        break;
    case SRV_ASK_RCPT:
        ask_rcpt(s, a->rcpt);
        break;
    case SRV_BODY:
        intake_body(s, a->body, now);
        break;
    case SRV_COMMIT:
        intake_commit(s, now);
        break;
    case SRV_ABORT:
        session_forget_message(s);
        break;
    case SRV_REFUSED:
        session_rejected(s, &a->refused, a->mail ? a->mail->path : s->txn.sender,
                         a->rcpt ? a->rcpt->path : SLICE_NONE);
        break;
    case SRV_STARTTLS:
    case SRV_CLOSE:
        UNREACHABLE(); /* the driver's own */
    }
}

static void on_tls(void *ctx, bool ok, const char *why)
{
    static struct log_limit failures = LOG_LIMIT(60);
    struct session *s = ctx;
    auth_reset(&s->auth);
    if (ok && s->smtp_conf.auth_mechanisms.n)
        s->smtp_conf.auth_mechanisms = auth_offer(s);
    metric_add(ok ? M_TLS_IN : M_TLS_IN_FAILED, 1);
    if (ok && net_conn_tls_info(s->served.conn).resumed)
        metric_add(M_TLS_IN_RESUMED, 1);
    if (!ok)
        LOG_FEW(&failures, LV_INFO, "tls_failed", LOG_S("client_ip", s->names.peer_ip),
                LOG_S("session_id", s->id), LOG_S("reason", why));
    else
        metric_add(M_SESSIONS_IN_TLS, 1);
    s->has_tls = ok;
}

static void on_late(void *ctx, struct mono now)
{
    (void)now;
    if (!guard_late(ctx))
        intake_late(ctx);
}

static void on_closed(void *ctx)
{
    struct session *s = ctx;
    struct inbound *in = s->in;
    s->closed = true;
    clients_leave(in->shared->clients, s->admission.client, s->slot, loop_now(in->loop));
    metric_add(M_SESSIONS_IN_OPEN, -1);
    metric_add(M_SESSIONS_IN_TLS, -s->has_tls);
    if (s->pending == 0)
        session_free(s);
}

static void looked_at(void *ctx)
{
    const struct session *s = ctx;
    net_conn_label(s->served.conn,
                   &(struct net_label){.name = s->id, .user = slice_str(s->auth.user)});
}

static void configure(struct session *s)
{
    const struct conf_listener *l = s->listener;
    bool offer_auth = l->auth != CONF_AUTH_NONE && s->conf->users_file[0];
    s->smtp_conf = (struct smtp_server_conf){
        .hostname = slice_str(s->conf->hostname),
        .banner = slice_str(l->banner),
        .auth_mechanisms = offer_auth ? SLICE_LIT(AUTH_MECHANISMS) : SLICE_NONE,
        .extensions = SMTP_EVERY_EXTENSION,
        .starttls = l->tls == CONF_TLS_STARTTLS && s->tls,
        .auth_needs_tls = true,
        .auth_required = l->auth == CONF_AUTH_REQUIRED && !s->trusted,
        .max_message_size = l->max_message_size,
        .max_recipients = l->max_recipients,
        .max_errors = MAX_ERRORS,
        .max_auth_failures = MAX_AUTH_FAILURES,
        .max_idle = MAX_IDLE,
        .max_unknown = MAX_UNKNOWN,
        .max_refused = l->max_recipients + MAX_REFUSED_MORE,
        .max_hold_s = l->max_hold_s,
        .max_hold_until = wall_add_s(wall_now(), l->max_hold_s),
        .greeting_delay_ms = l->greeting_delay_ms,
        .login_timeout_ms = LOGIN_TIMEOUT_MS,
        .command_timeout_ms = l->idle_timeout_ms,
        .message_timeout_ms = l->message_timeout_ms,
        .data_timeout_ms = DATA_TIMEOUT_MS,
        .min_data_rate = MIN_DATA_RATE,
    };
}

struct session *session_new(struct inbound *in, const struct listening *l,
                            const struct admission *a, struct net_conn *c)
{
    static const struct served_by by = {
        .act = act, .tls = on_tls, .late = on_late, .closed = on_closed, .looked_at = looked_at};
    struct session *s = must_alloc(sizeof *s);
    s->in = in;
    s->slot = l->slot;
    s->admission = *a;
    s->trusted = a->trusted;
    s->conf = conf_ref(in->conf);
    s->tls = tls_context_for(in->tls, l->index);
    if (s->tls)
        frozen_ref(&s->tls->frozen);
    s->listener = &s->conf->listeners[l->index];
    net_conn_names(c, &s->names);
    transaction_init(&s->txn);
    snprintf(s->id, sizeof s->id, "%llx-%x-%llx", (unsigned long long)in->boot,
             loop_index(in->loop), (unsigned long long)++in->sessions_begun);
    net_conn_label(c, &(struct net_label){.name = s->id});
    configure(s);
    DL_APPEND(in->sessions, s);
    metric_add(M_SESSIONS_IN, 1);
    metric_add(M_SESSIONS_IN_OPEN, 1);
    served_begin(&s->served, c, &s->smtp_conf, s->tls, s->listener->tls == CONF_TLS_IMPLICIT, &by,
                 s);
    return s;
}
