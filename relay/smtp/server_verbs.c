/* One function a command. Each looks at the order first, then at the words, then asks the driver or
 * answers. */
#include "relay/base/must.h"
#include "relay/smtp/server_priv.h"

static void reply_text(struct smtp_server *s, uint16_t code, struct enhanced e, struct slice text)
{
    struct smtp_reply r = {code, e, text};
    server_reply(s, &r);
}

bool server_auth_offered(const struct smtp_server *s)
{
    return s->conf->auth_mechanisms.n && (s->tls || !s->conf->auth_needs_tls);
}

static bool is_host_byte(uint8_t c)
{
    const uint8_t l = byte_lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr(".-_[]:", c));
}

/* The name goes into Received: and the log: whatever has a meaning there becomes '?', and nothing
 * is refused for it, because what programs say here is often the whim of a user's machine. */
static void set_helo(struct smtp_server *s, struct slice args)
{
    struct slice name = slice_head(args, slice_find(args, ' '));
    name = slice_head(name, SERVER_HELO_MAX);
    buf_reset(&s->helo);
    for (size_t i = 0; i < name.n; i++)
        buf_add_u8(&s->helo, is_host_byte(name.p[i]) ? name.p[i] : '?');
}

static void do_helo(struct smtp_server *s, struct slice args)
{
    server_abort(s);
    set_helo(s, args);
    s->esmtp = false;
    reply_text(s, 250, (struct enhanced){0}, s->conf->hostname);
}

static void do_ehlo(struct smtp_server *s, struct slice args)
{
    server_abort(s);
    set_helo(s, args);
    s->esmtp = true;
    server_say_ehlo(s);
}

static void do_starttls(struct smtp_server *s, bool bytes_follow)
{
    if (s->tls) {
        server_refuse(s, SAY_TLS_ON);
    } else if (!s->conf->starttls) {
        server_refuse(s, SAY_TLS_NOT_OFFERED);
    } else if (s->in_transaction) {
        server_refuse(s, SAY_TLS_IN_TRANSACTION);
    } else if (bytes_follow) {
        server_give_up(s, SAY_TLS_INJECTION);
    } else {
        reply_text(s, 220, (struct enhanced){2, 0, 0}, SLICE_LIT("go ahead with TLS"));
        s->state = SERVER_TLS;
        server_push(s, SRV_STARTTLS);
    }
}

static bool mechanism_offered(const struct smtp_server *s, struct slice name)
{
    struct slice rest = s->conf->auth_mechanisms;
    while (rest.n)
        if (slice_ieq(slice_cut(&rest, ' '), name))
            return true;
    return false;
}

static void begin_auth(struct smtp_server *s, struct slice args)
{
    struct slice mechanism;
    switch (command_auth(args, &mechanism, &s->response, &s->has_response)) {
    case COMMAND_FINE:
        break;
    case COMMAND_PARAM_VALUE:
        server_refuse(s, SAY_AUTH_BASE64);
        return;
    case COMMAND_SYNTAX:
    case COMMAND_PATH:
    case COMMAND_NOT_ASCII:
    case COMMAND_PARAM_UNKNOWN:
    case COMMAND_PARAM_TWICE:
    case COMMAND_PARAM_CONFLICT:
        server_refuse_with(s, SAY_USAGE, slice_str(command_row(VERB_AUTH)->usage));
        return;
    }
    if (!mechanism_offered(s, mechanism)) {
        server_refuse_with(s, SAY_AUTH_MECHANISM, s->conf->auth_mechanisms);
        return;
    }
    MUST(mechanism.n < sizeof s->mechanism_text);
    for (size_t i = 0; i < mechanism.n; i++) {
        const uint8_t c = mechanism.p[i];
        s->mechanism_text[i] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    s->mechanism = slice_of(s->mechanism_text, mechanism.n);
    server_ask(s, ASKED_AUTH, SRV_ASK_AUTH);
}

static void do_auth(struct smtp_server *s, struct slice args)
{
    if (s->helo.n == 0)
        server_refuse(s, SAY_NO_HELO);
    else if (s->conf->auth_mechanisms.n == 0)
        server_refuse(s, SAY_AUTH_NOT_OFFERED);
    else if (s->authenticated)
        server_refuse(s, SAY_AUTH_TWICE);
    else if (s->in_transaction)
        server_refuse(s, SAY_AUTH_IN_TRANSACTION);
    else if (!server_auth_offered(s))
        server_refuse(s, SAY_AUTH_NEEDS_TLS);
    else
        begin_auth(s, args);
}

void server_auth_response(struct smtp_server *s)
{
    struct slice line = buf_slice(&s->line.text);
    const bool cancel = slice_eq(line, SLICE_LIT("*"));
    if (cancel || !command_is_base64(line)) {
        s->state = SERVER_COMMAND;
        server_push(s, SRV_AUTH_CANCELLED);
        server_refuse(s, cancel ? SAY_AUTH_CANCELLED : SAY_AUTH_BASE64);
        return;
    }
    s->mechanism = SLICE_NONE;
    s->response = line;
    s->has_response = true;
    server_ask(s, ASKED_AUTH, SRV_ASK_AUTH);
}

static void refuse_path(struct smtp_server *s, enum command_fault fault, enum situation bad_path,
                        struct slice culprit)
{
    switch (fault) {
    case COMMAND_FINE:
        UNREACHABLE();
    case COMMAND_SYNTAX:
        server_refuse_with(s, SAY_USAGE, slice_str(command_row(s->verb)->usage));
        return;
    case COMMAND_PATH:
        server_refuse(s, bad_path);
        return;
    case COMMAND_NOT_ASCII:
        server_refuse(s, server_offers(s) & SMTP_SMTPUTF8 ? SAY_NOT_ASCII : SAY_NOT_ASCII_EVER);
        return;
    case COMMAND_PARAM_UNKNOWN:
        server_refuse_with(s, SAY_PARAM_UNKNOWN, culprit);
        return;
    case COMMAND_PARAM_VALUE:
        server_refuse_with(s, SAY_PARAM_VALUE, culprit);
        return;
    case COMMAND_PARAM_TWICE:
        server_refuse_with(s, SAY_PARAM_TWICE, culprit);
        return;
    case COMMAND_PARAM_CONFLICT:
        server_refuse_with(s, SAY_PARAM_CONFLICT, culprit);
        return;
    }
}

/* AUTH= may be given whether AUTH has happened or not, and REQUIRETLS too early hears what it
 * needs. */
static struct command_rules rules_of(struct smtp_server *s)
{
    const struct smtp_server_conf *conf = s->conf;
    unsigned offered = server_offers(s) | (conf->extensions & SMTP_REQUIRETLS);
    if (conf->auth_mechanisms.n)
        offered |= SMTP_AUTH;
    return (struct command_rules){.offered = offered, .smtputf8 = s->smtputf8, .text = &s->text};
}

static void refuse_hold_until(struct smtp_server *s)
{
    char text[WALL_RFC3339_SIZE];
    wall_rfc3339(s->conf->max_hold_until, text);
    server_refuse_with(s, SAY_HOLD_TOO_FAR, slice_str(text));
}

/* The parameters that have a limit. True: all are within. */
static bool is_within_limits(struct smtp_server *s, const struct smtp_mail *m)
{
    const struct smtp_server_conf *conf = s->conf;
    if (conf->max_message_size && m->size > conf->max_message_size)
        server_refuse_number(s, SAY_TOO_BIG, conf->max_message_size);
    else if (m->params.requiretls && !s->tls)
        server_refuse(s, SAY_REQUIRETLS_NEEDS_TLS);
    else if (m->hold_s > conf->max_hold_s)
        server_refuse_number(s, SAY_HOLD_TOO_LONG, (uint64_t)conf->max_hold_s);
    else if (m->hold_until.us > conf->max_hold_until.us)
        refuse_hold_until(s);
    else if (m->params.by == MAIL_BY_RETURN && m->by_s < conf->min_by_s)
        server_refuse_number(s, SAY_BY_TOO_SOON, (uint64_t)conf->min_by_s);
    else
        return true;
    return false;
}

static void do_mail(struct smtp_server *s, struct slice args)
{
    const struct smtp_server_conf *conf = s->conf;
    const struct command_rules rules = rules_of(s);
    struct slice culprit;
    enum command_fault fault = command_mail(args, &rules, &s->mail, &culprit);
    s->path_known = fault == COMMAND_FINE;
    if (s->helo.n == 0)
        server_refuse(s, SAY_NO_HELO);
    else if (s->in_transaction)
        server_refuse(s, SAY_MAIL_TWICE);
    else if (conf->auth_required && !s->authenticated)
        server_refuse(s, server_auth_offered(s) ? SAY_AUTH_REQUIRED : SAY_TLS_REQUIRED);
    else if (conf->max_messages && s->messages >= conf->max_messages)
        server_give_up(s, SAY_TOO_MANY_MESSAGES);
    else if (fault != COMMAND_FINE)
        refuse_path(s, fault, SAY_SENDER_SYNTAX, culprit);
    else if (is_within_limits(s, &s->mail))
        server_ask(s, ASKED_MAIL, SRV_ASK_MAIL);
}

static void do_rcpt(struct smtp_server *s, struct slice args)
{
    const struct command_rules rules = rules_of(s);
    struct slice culprit;
    enum command_fault fault = command_rcpt(args, &rules, &s->rcpt, &culprit);
    s->path_known = fault == COMMAND_FINE;
    if (!s->in_transaction)
        server_refuse(s, SAY_NO_MAIL);
    else if (s->content.bdat)
        server_refuse(s, SAY_IN_BDAT);
    else if (fault != COMMAND_FINE)
        refuse_path(s, fault, SAY_RCPT_SYNTAX, culprit);
    else if (s->conf->max_recipients && s->rcpts >= s->conf->max_recipients)
        server_refuse(s, SAY_TOO_MANY_RCPTS);
    else
        server_ask(s, ASKED_RCPT, SRV_ASK_RCPT);
}

static void do_data(struct smtp_server *s, struct slice args)
{
    (void)args;
    if (!s->in_transaction) {
        server_refuse(s, SAY_NO_MAIL);
    } else if (s->content.bdat) {
        server_refuse(s, SAY_IN_BDAT);
    } else if (s->rcpts == 0) {
        server_refuse(s, SAY_NO_RCPT);
    } else if (s->binary) {
        server_refuse(s, SAY_CONTENT_NOT_BDAT);
    } else {
        reply_text(s, 354, (struct enhanced){0}, SLICE_LIT("go ahead; end with <CRLF>.<CRLF>"));
        server_content_begin_data(s);
    }
}

/* Without a size nobody knows which of the following bytes are commands: the only safe answer is to
 * close. */
static void do_bdat(struct smtp_server *s, struct slice args)
{
    uint64_t size;
    bool last;
    if (command_bdat(args, &size, &last) != COMMAND_FINE)
        server_give_up_with(s, SAY_BDAT_SYNTAX, slice_str(command_row(VERB_BDAT)->usage));
    else
        server_content_begin_chunk(s, size, last);
}

static void do_rset(struct smtp_server *s, struct slice args)
{
    (void)args;
    server_abort(s);
    reply_text(s, 250, (struct enhanced){2, 0, 0}, SLICE_LIT("Ok"));
}

static void do_noop(struct smtp_server *s, struct slice args)
{
    (void)args;
    reply_text(s, 250, (struct enhanced){2, 0, 0}, SLICE_LIT("Ok"));
}

static void do_vrfy(struct smtp_server *s, struct slice args)
{
    (void)args;
    reply_text(s, 252, (struct enhanced){2, 0, 0},
               SLICE_LIT("not verified; send the mail and see"));
}

static void do_expn(struct smtp_server *s, struct slice args)
{
    (void)args;
    server_refuse(s, SAY_NO_EXPN);
}

static void do_help(struct smtp_server *s, struct slice args)
{
    server_say_help(s, args);
}

static void do_quit(struct smtp_server *s, struct slice args)
{
    (void)args;
    server_abort(s);
    reply_text(s, 221, (struct enhanced){2, 0, 0}, SLICE_LIT("goodbye"));
    server_close(s);
}

static void do_http(struct smtp_server *s, struct slice args)
{
    (void)args;
    server_give_up(s, SAY_HTTP);
}

static void (*const handlers[VERB_UNKNOWN])(struct smtp_server *, struct slice) = {
    [VERB_EHLO] = do_ehlo,    [VERB_HELO] = do_helo, [VERB_AUTH] = do_auth, [VERB_MAIL] = do_mail,
    [VERB_RCPT] = do_rcpt,    [VERB_DATA] = do_data, [VERB_BDAT] = do_bdat, [VERB_RSET] = do_rset,
    [VERB_NOOP] = do_noop,    [VERB_VRFY] = do_vrfy, [VERB_EXPN] = do_expn, [VERB_HELP] = do_help,
    [VERB_QUIT] = do_quit,    [VERB_GET] = do_http,  [VERB_POST] = do_http, [VERB_PUT] = do_http,
    [VERB_CONNECT] = do_http,
};

static void refuse_line(struct smtp_server *s, enum situation bad)
{
    server_refuse(s, bad);
    if (bad == SAY_UNKNOWN && s->conf->max_unknown && ++s->unknown >= s->conf->max_unknown &&
        s->state != SERVER_END)
        server_give_up(s, SAY_TOO_MANY_UNKNOWN);
}

void server_command(struct smtp_server *s, enum line_event event, bool bytes_follow)
{
    struct slice args, line = buf_slice(&s->line.text);
    s->path_known = false;
    s->verb = command_verb(line, &args);
    const enum situation bad = event == LINE_BAD_END     ? SAY_BAD_LINE_END
                               : event == LINE_LONG      ? SAY_LINE_LONG
                               : !command_is_clean(line) ? SAY_CONTROL
                               : s->verb == VERB_UNKNOWN ? SAY_UNKNOWN
                                                         : SAY_COUNT;
    if (bad != SAY_COUNT && s->verb == VERB_BDAT) {
        server_give_up(s, bad);
        return;
    }
    if (bad != SAY_COUNT) {
        refuse_line(s, bad);
        return;
    }
    const struct verb_row *row = command_row(s->verb);
    if (row->idle && s->conf->max_idle && ++s->idle > s->conf->max_idle)
        server_give_up(s, SAY_TOO_MANY_IDLE);
    else if ((row->args == ARGS_MUST && args.n == 0) || (row->args == ARGS_NONE && args.n))
        server_refuse_with(s, SAY_USAGE, slice_str(row->usage));
    else if (s->verb == VERB_STARTTLS)
        do_starttls(s, bytes_follow);
    else
        handlers[s->verb](s, args);
}
