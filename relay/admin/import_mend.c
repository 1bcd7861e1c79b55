/*
 * A message that is handed in for the first time over the control socket (import.begin with
 * submit): its header section is judged and mended as at the front door (relay/mail/fixup), with
 * the rules that a listener has by default, and our trace field comes in front.
 */
#include "relay/admin/import.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/dkim.h"
#include "relay/mail/fixup.h"
#include <stdio.h>

enum { FIELDS_MAX = 1000, HOPS_MAX = 50, ADDED_MAX = 8192 + DKIM_FIELDS_MAX };

static const struct fixup_rules rules = {.date = FIXUP_ADD,
                                         .message_id = FIXUP_ADD,
                                         .from = FIXUP_ADD,
                                         .to = FIXUP_KEEP,
                                         .max_octets = HEADER_SCAN_MAX,
                                         .max_fields = FIELDS_MAX,
                                         .max_hops = HOPS_MAX};

static const char *const faults[] = {
#define X(fault, code, class_, subject, detail, text) [FIXUP_NOT_##fault] = text,
#include "relay/mail/fixup_faults.def"
#undef X
};

/* The words of the fault, and the number or the text that it is about. */
static void say(char why[IMPORT_WHY_SIZE], enum fixup_fault fault, struct slice detail)
{
    static const size_t limits[] = {[FIXUP_NOT_SIZE] = HEADER_SCAN_MAX,
                                    [FIXUP_NOT_FIELDS] = FIELDS_MAX,
                                    [FIXUP_NOT_HOPS] = HOPS_MAX,
                                    [FIXUP_NOT_TAGS] = FIXUP_TAGS_MAX};
    const size_t limit = fault < sizeof limits / sizeof *limits ? limits[fault] : 0;
    if (limit)
        snprintf(why, IMPORT_WHY_SIZE, "%s: %zu", faults[fault], limit);
    else if (detail.n && import_text_ok(detail, 100))
        snprintf(why, IMPORT_WHY_SIZE, "%s: %.*s", faults[fault], SLICE_ARG(detail));
    else
        snprintf(why, IMPORT_WHY_SIZE, "%s", faults[fault]);
}

static void write_received(struct buf *out, const struct import_mend *m)
{
    const struct received_info r = {
        .hostname = m->hostname, .queue_id = m->queue_id, .recipient = m->recipient, .now = m->now};
    header_write_received(out, &r);
}

static void begin_signing(struct import_mend *m, struct slice section, struct slice body)
{
    m->sign = dkim_sign_new(m->keys, section, m->now);
    m->sign_at = m->content.n;
    if (!m->sign)
        return;
    dkim_sign_reserve(m->sign, &m->content);
    dkim_sign_body(m->sign, body);
}

static void write_all(struct import_mend *m, const struct fixup *f, struct header_scan *scan,
                      struct slice section, struct slice body)
{
    const struct fixup_words words = {
        .queue_id = m->queue_id, .hostname = m->hostname, .sender = m->sender, .now = m->now};
    DEFER(buf_done) struct buf fields = BUF_MAX(ADDED_MAX + section.n);
    buf_init(&m->content, ADDED_MAX + section.n + body.n);
    write_received(&m->content, m);
    fixup_write(&fields, f, &rules, &words, section);
    begin_signing(m, buf_slice(&fields), body);
    buf_add(&m->content, buf_slice(&fields));
    buf_add(&m->content, body);
    MUST(!m->content.overflow);
    if (scan->facts.has_message_id)
        return;
    buf_reset(&scan->message_id);
    buf_addf(&scan->message_id, "<%.*s@%.*s>", SLICE_ARG(m->queue_id), SLICE_ARG(m->hostname));
}

bool import_mend(struct import_mend *m, struct header_scan *scan, struct slice content)
{
    const struct header_facts *facts = &scan->facts;
    const struct slice section =
        slice_skip(slice_head(content, facts->header_n), facts->from_line_n);
    struct fixup f = {0};
    struct slice detail = SLICE_NONE;
    fixup_look(&f, section);
    const enum fixup_fault fault = fixup_judge(&f, facts, &rules, &detail);
    if (fault != FIXUP_FINE) {
        say(m->why, fault, detail);
    } else {
        write_all(m, &f, scan, section, slice_skip(content, facts->header_n));
        m->tls_optional = f.tls_optional;
        m->tags = f.tags;
        f.tags = (struct buf){0};
    }
    fixup_done(&f);
    return fault == FIXUP_FINE;
}

void import_mend_done(struct import_mend *m)
{
    buf_done(&m->content);
    buf_done(&m->tags);
}
