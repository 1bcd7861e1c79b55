/*
 * Command lines (checklist 4, 23). Laws: any split gives the same lines; no text holds CR or LF;
 * what is found lies within the line, or is decoded from it, and holds no control character; a
 * culprit is safe to repeat in a reply. Input: one byte that chooses the split, then the bytes.
 */
#include "relay/smtp/command.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/mail/address.h"
#include "relay/smtp/line.h"
#include "relay/smtp/orcpt.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(struct slice whole, struct slice part)
{
    MUST(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

static void safe(struct slice culprit)
{
    MUST(culprit.n <= 100);
    for (size_t i = 0; i < culprit.n; i++)
        MUST(culprit.p[i] >= 0x20 && culprit.p[i] < 0x7f);
}

/* What is decoded travels far: no control, valid UTF-8. */
static void clean(struct slice s, size_t max)
{
    MUST(s.n <= max && utf8_valid(s));
    for (uint32_t code; s.n; s = slice_skip(s, utf8_char(s, &code)))
        MUST(utf8_char(s, &code) > 0 && !utf8_is_control(code));
}

static void look_at_mail(struct slice args, struct command_rules *rules)
{
    struct smtp_mail m;
    struct slice culprit;
    if (command_mail(args, rules, &m, &culprit) == COMMAND_FINE) {
        const struct mail_params *p = &m.params;
        within(args, m.path);
        within(args, m.auth);
        within(buf_slice(rules->text), m.envid);
        MUST(m.path.n <= 254 && (p->smtputf8 || address_is_ascii(m.path)));
        clean(m.path, 254);
        clean(m.envid, 100);
        MUST(address_is_ascii(m.envid));
        MUST(m.hold_s >= 0 && m.hold_until.us >= 0 && (m.hold_s == 0 || m.hold_until.us == 0));
        MUST(p->by != MAIL_BY_RETURN || m.by_s > 0);
        MUST(p->priority >= MAIL_PRIORITY_MIN && p->priority <= MAIL_PRIORITY_MAX);
    }
    safe(culprit);
}

static void look_at_rcpt(struct slice args, struct command_rules *rules)
{
    struct smtp_rcpt r;
    struct slice culprit;
    if (command_rcpt(args, rules, &r, &culprit) == COMMAND_FINE) {
        within(args, r.path);
        within(buf_slice(rules->text), r.orcpt);
        MUST(r.path.n > 0 && r.path.n <= 254 && (rules->smtputf8 || address_is_ascii(r.path)));
        clean(r.path, 254);
        clean(r.orcpt, ORCPT_MAX);
        MUST(!(r.notify & MAIL_NOTIFY_NEVER) || r.notify == MAIL_NOTIFY_NEVER);
    }
    safe(culprit);
}

static void look_at_params(struct slice args)
{
    DEFER(buf_done) struct buf text = BUF_MAX(1024);
    static const unsigned offers[] = {SMTP_EVERY_EXTENSION, SMTP_SIZE, 0};
    for (size_t i = 0; i < 3; i++) {
        struct command_rules rules = {.offered = offers[i], .text = &text};
        look_at_mail(args, &rules);
        look_at_rcpt(args, &rules);
        rules.smtputf8 = offers[i] & SMTP_SMTPUTF8;
        look_at_rcpt(args, &rules);
    }
}

static void look(struct slice line)
{
    MUST(slice_find(line, '\r') == line.n && slice_find(line, '\n') == line.n);
    if (!command_is_clean(line))
        return;
    struct slice args, mechanism, response;
    uint64_t n;
    bool flag;
    command_verb(line, &args);
    within(line, args);
    look_at_params(args);
    command_bdat(args, &n, &flag);
    if (command_auth(args, &mechanism, &response, &flag) == COMMAND_FINE) {
        within(args, mechanism);
        within(args, response);
    }
}

static void run(struct slice in, size_t step, struct buf *events)
{
    struct line l;
    line_init(&l);
    for (size_t at = 0; at < in.n;) {
        enum line_event event;
        at += line_read(&l, slice_head(slice_skip(in, at), step), false, &event);
        if (event == LINE_MORE)
            continue;
        buf_add_u8(events, (uint8_t)event);
        if (event == LINE_WHOLE) {
            /* An exact copy, so that a sanitizer sees one byte too many. */
            uint8_t *copy = must_alloc(l.text.n ? l.text.n : 1);
            if (l.text.n)
                memcpy(copy, l.text.p, l.text.n);
            look(slice_of(copy, l.text.n));
            free(copy);
            buf_add(events, buf_slice(&l.text));
        }
        line_next(&l);
        if (event == LINE_ENDLESS)
            break;
    }
    line_done(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    struct buf whole = BUF_MAX(1 << 22), parts = BUF_MAX(1 << 22);
    run(in, in.n, &whole);
    run(in, 1 + data[0] % 16, &parts);
    MUST(slice_eq(buf_slice(&whole), buf_slice(&parts)));
    buf_done(&whole);
    buf_done(&parts);
    return 0;
}
