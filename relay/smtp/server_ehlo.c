/* What the server says of itself: the reply to EHLO, and HELP. */
#include "relay/base/defer.h"
#include "relay/smtp/server_priv.h"
#include <inttypes.h>

enum { LIST_MAX = 4096 };

unsigned server_offers(const struct smtp_server *s)
{
    const struct smtp_server_conf *conf = s->conf;
    unsigned set = conf->extensions & ~(unsigned)(SMTP_STARTTLS | SMTP_AUTH);
    if (conf->starttls && !s->tls)
        set |= SMTP_STARTTLS;
    if (server_auth_offered(s))
        set |= SMTP_AUTH;
    if (!s->tls)
        set &= ~(unsigned)SMTP_REQUIRETLS;
    if (conf->max_hold_s <= 0)
        set &= ~(unsigned)SMTP_FUTURERELEASE;
    if (conf->max_recipients == 0 && conf->max_messages == 0)
        set &= ~(unsigned)SMTP_LIMITS;
    if (!(set & SMTP_CHUNKING))
        set &= ~(unsigned)SMTP_BINARYMIME;
    if (!(set & SMTP_EIGHTBITMIME))
        set &= ~(unsigned)SMTP_SMTPUTF8;
    return set;
}

/* To the second: "2026-12-31T23:59:59Z". */
static void add_time(struct buf *out, struct wall t)
{
    char text[WALL_RFC3339_SIZE];
    wall_rfc3339(t, text);
    buf_addf(out, "%.19sZ", text);
}

static void add_value(const struct smtp_server *s, enum smtp_extension e, struct buf *out)
{
    const struct smtp_server_conf *conf = s->conf;
    if (e == SMTP_SIZE) {
        buf_addf(out, " %" PRIu64, conf->max_message_size);
    } else if (e == SMTP_FUTURERELEASE) {
        buf_addf(out, " %" PRId64 " ", conf->max_hold_s);
        add_time(out, conf->max_hold_until);
    } else if (e == SMTP_DELIVERBY && conf->min_by_s > 0) {
        buf_addf(out, " %" PRId64, conf->min_by_s);
    } else if (e == SMTP_AUTH) {
        buf_add_u8(out, ' ');
        buf_add(out, conf->auth_mechanisms);
    } else if (e == SMTP_LIMITS) {
        if (conf->max_recipients)
            buf_addf(out, " RCPTMAX=%u", conf->max_recipients);
        if (conf->max_messages)
            buf_addf(out, " MAILMAX=%u", conf->max_messages);
    }
}

static void say(struct smtp_server *s, uint16_t code, struct enhanced e, struct buf *text)
{
    struct smtp_reply r = {code, e, buf_slice(text)};
    server_reply(s, &r);
}

void server_say_ehlo(struct smtp_server *s)
{
    DEFER(buf_done) struct buf text = BUF_MAX(LIST_MAX);
    const unsigned set = server_offers(s);
    buf_add(&text, s->conf->hostname);
    for (unsigned i = 0; i < SMTP_EXTENSIONS; i++) {
        if (!(set & 1U << i))
            continue;
        buf_add_u8(&text, '\n');
        buf_add(&text, smtp_extension_keyword((enum smtp_extension_index)i));
        add_value(s, (enum smtp_extension)(1U << i), &text);
    }
    say(s, 250, (struct enhanced){0}, &text);
}

static void help_list(struct buf *text)
{
    buf_add_str(text, "postwain takes mail to be relayed (RFC 5321, 6409):");
    for (int v = 0; v < VERB_UNKNOWN; v++) {
        const struct verb_row *row = command_row((enum verb)v);
        if (row->help[0])
            buf_addf(text, "\n%s", row->usage);
    }
}

static void help_params(const struct smtp_server *s, bool mail, struct buf *text)
{
    enum smtp_extension needs;
    for (size_t i = 0;; i++) {
        struct slice usage = params_usage(mail, i, &needs);
        if (usage.n == 0)
            return;
        if (server_offers(s) & needs)
            buf_addf(text, "\n%.*s", SLICE_ARG(usage));
    }
}

void server_say_help(struct smtp_server *s, struct slice topic)
{
    struct slice rest;
    const enum verb v = command_verb(topic, &rest);
    const struct verb_row *row = command_row(v);
    DEFER(buf_done) struct buf text = BUF_MAX(LIST_MAX);
    if (topic.n && (!row || !row->help[0])) {
        server_refuse(s, SAY_NO_SUCH_HELP);
        return;
    }
    if (topic.n == 0)
        help_list(&text);
    else
        buf_addf(&text, "%s\n%s", row->usage, row->help);
    if (v == VERB_MAIL || v == VERB_RCPT)
        help_params(s, v == VERB_MAIL, &text);
    say(s, 214, (struct enhanced){2, 0, 0}, &text);
}
