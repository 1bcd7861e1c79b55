#include "relay/inbound/content.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/inbound/private.h"
#include "relay/mail/address_list.h"
#include <inttypes.h>
#include <stdio.h>

#define HOPS_MAX 50
/* Each is looked up among the user's patterns; a person writes one. */
#define AUTHORS_MAX 100
#define QUOTED_MAX 200 /* octets of the client's own words in a reply */

_Static_assert((int)CONF_MISSING_ADD == FIXUP_ADD && (int)CONF_MISSING_REFUSE == FIXUP_REFUSE &&
                   (int)CONF_MISSING_KEEP == FIXUP_KEEP,
               "one is written as the other");

static const struct smtp_reply faults[] = {
#define X(fault, code, class_, subject, detail, text)                                              \
    [FIXUP_NOT_##fault] = SMTP_REPLY_INIT(code, class_, subject, detail, text),
#include "relay/mail/fixup_faults.def"
#undef X
};

static const struct smtp_reply reply_author =
    SMTP_REPLY_INIT(550, 5, 7, 1, "you may not send as this address");
static const struct smtp_reply reply_unreadable = SMTP_REPLY_INIT(
    550, 5, 7, 1, "you may send as some addresses only, and those in this field cannot be read");
static const struct smtp_reply reply_tags = SMTP_REPLY_INIT(
    554, 5, 6, 0, "too many tags, those of X-Postwain-Tag: and of your login; the limit is");
static const struct smtp_reply reply_authors =
    SMTP_REPLY_INIT(550, 5, 7, 1, "there are too many authors; the limit is");

struct fixup_rules content_rules(const struct session *s)
{
    const struct conf_listener *l = s->listener;
    return (struct fixup_rules){.date = (enum fixup_missing)l->missing_date,
                                .message_id = (enum fixup_missing)l->missing_message_id,
                                .from = (enum fixup_missing)l->missing_from,
                                .to = (enum fixup_missing)l->missing_to,
                                .max_octets = (size_t)l->max_header_size,
                                .max_fields = l->max_header_fields,
                                .max_hops = HOPS_MAX};
}

struct slice content_section(const struct session *s)
{
    const struct header_facts *f = &s->intake.scan.facts;
    return slice_skip(slice_head(buf_slice(&s->intake.content), f->header_n), f->from_line_n);
}

/* The words of the row, then ": " and the detail, which is the client's: printable and cut. */
static const struct smtp_reply *refuse(struct content_refusal *room, const struct smtp_reply *row,
                                       const char *where, struct slice detail)
{
    DEFER(buf_done) struct buf text = BUF_MAX(sizeof room->text), clean = BUF_MAX(QUOTED_MAX + 8);
    buf_add(&text, row->text);
    if (detail.n > 0) {
        utf8_clean(&clean, detail, QUOTED_MAX);
        buf_addf(&text, ": %s", where);
        buf_add(&text, buf_slice(&clean));
    }
    memcpy(room->text, text.p, text.n);
    room->reply = *row;
    room->reply.text = slice_of(room->text, text.n);
    return &room->reply;
}

static const struct smtp_reply *refuse_number(struct content_refusal *room,
                                              const struct smtp_reply *row, uint64_t limit)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, limit);
    return refuse(room, row, "", slice_str(number));
}

static const struct smtp_reply *refuse_fault(struct content_refusal *room, enum fixup_fault fault,
                                             const struct fixup_rules *r, struct slice detail)
{
    const struct {
        enum fixup_fault fault;
        uint64_t limit;
    } limits[] = {{FIXUP_NOT_SIZE, r->max_octets},
                  {FIXUP_NOT_FIELDS, r->max_fields},
                  {FIXUP_NOT_HOPS, r->max_hops},
                  {FIXUP_NOT_TAGS, FIXUP_TAGS_MAX}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].fault == fault)
            return refuse_number(room, &faults[fault], limits[i].limit);
    return refuse(room, &faults[fault], "", detail);
}

/* One field that says who the message is from. */
static const struct smtp_reply *judge_author(struct session *s, const struct header_field *field,
                                             unsigned *authors, struct content_refusal *room)
{
    DEFER(buf_done) struct buf address = BUF_MAX(ADDRESS_LIST_OCTETS);
    struct address_list list = address_list_of(field->value, s->txn.params.smtputf8);
    enum address_list_found found;
    unsigned here = 0;
    char where[32];
    snprintf(where, sizeof where, "%.*s: ", SLICE_ARG(field->name));
    while ((found = address_list_next(&list, &address)) == ADDRESS_LIST_ONE) {
        here++;
        if (++*authors > AUTHORS_MAX)
            return refuse_number(room, &reply_authors, AUTHORS_MAX);
        if (!rules_may_send_as(s, buf_slice(&address)))
            return refuse(room, &reply_author, where, buf_slice(&address));
    }
    /* No address is no author: others would read something into it. */
    if (found == ADDRESS_LIST_BAD || here == 0)
        return refuse(room, &reply_unreadable, where, slice_trim(field->value));
    return NULL;
}

/* Whoever may send as some addresses only may also name only those (RFC 6409 section 6.1). A From
 * that is missing becomes the reverse-path, which has been judged. */
static const struct smtp_reply *judge_authors(struct session *s, struct slice section,
                                              struct content_refusal *room)
{
    struct header_field field;
    const struct smtp_reply *r = NULL;
    unsigned authors = 0;
    if (!rules_is_restricted(s))
        return NULL;
    while (!r && fixup_next_author(&section, &field))
        r = judge_author(s, &field, &authors, room);
    return r;
}

const struct smtp_reply *content_judge(struct session *s, struct content_refusal *room)
{
    struct intake *t = &s->intake;
    const struct fixup_rules rules = content_rules(s);
    const struct slice section = content_section(s);
    struct slice detail;
    MUST(t->scan.done);
    fixup_look(&t->fixup, section);
    const enum fixup_fault fault = fixup_judge(&t->fixup, &t->scan.facts, &rules, &detail);
    if (fault != FIXUP_FINE)
        return refuse_fault(room, fault, &rules, detail);
    if (rules_count_tags(s, buf_slice(&t->fixup.tags)) > FIXUP_TAGS_MAX)
        return refuse_number(room, &reply_tags, FIXUP_TAGS_MAX);
    return judge_authors(s, section, room);
}
