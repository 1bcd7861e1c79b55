/*
 * One walk over the fields says what there is (fixup_look), one table what is judged (missing[]),
 * and a second walk writes the section again (fixup_write). What is added is said by the set of
 * fields seen alone, so that mending twice adds nothing.
 */
#include "relay/mail/fixup.h"
#include "relay/base/utf8.h"

enum { LINE_OCTETS_MAX = 998, TAGS_OCTETS_MAX = FIXUP_TAGS_MAX * 256 };

static const struct {
    struct slice name;
    bool removed;
} known[] = {
#define X(field, name_, removed_) {{(const uint8_t *)name_, sizeof name_ - 1}, removed_},
#include "relay/mail/fixup.def"
#undef X
};
_Static_assert(FIXUP_OTHER == sizeof known / sizeof *known && FIXUP_OTHER < 32, "a set of bits");

#define SET(field) (UINT32_C(1) << FIXUP_##field)
#define VISIBLE_RCPT (SET(TO) | SET(CC))
/* A message was sent again: whatever of a block of Resent- fields stays with it. */
#define RESENT                                                                                     \
    (SET(RESENT_DATE) | SET(RESENT_MESSAGE_ID) | SET(RESENT_FROM) | SET(RESENT_SENDER) |           \
     SET(RESENT_TO) | SET(RESENT_CC))

static enum fixup_field field_of(struct slice name)
{
    unsigned i = 0;
    while (i < FIXUP_OTHER && !slice_ieq(known[i].name, name))
        i++;
    return (enum fixup_field)i;
}

static bool has(const struct fixup *f, uint32_t any_of)
{
    return f->seen & any_of;
}

/* ---- looking ---- */

static bool lines_are_fine(struct slice raw)
{
    while (raw.n > 0) {
        const size_t n = slice_find_slice(raw, SLICE_LIT("\r\n"));
        const struct slice line = slice_head(raw, n);
        if (n > LINE_OCTETS_MAX || slice_find(line, '\r') < n || slice_find(line, '\n') < n)
            return false;
        raw = slice_skip(raw, n + 2);
    }
    return true;
}

static bool is_key(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        const uint8_t c = byte_lower(s.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !memchr("._-", c, 3))
            return false;
    }
    return s.n > 0 && s.n <= FIXUP_TAG_KEY_MAX;
}

static bool is_text(struct slice s)
{
    uint32_t code;
    if (s.n == 0 || s.n > FIXUP_TAG_VALUE_MAX)
        return false;
    for (size_t n; s.n > 0; s = slice_skip(s, n)) {
        n = utf8_char(s, &code);
        if (n == 0 || utf8_is_control(code))
            return false;
    }
    return true;
}

static bool has_key(struct slice tags, struct slice key)
{
    while (tags.n > 0) {
        struct slice line = slice_cut(&tags, '\n');
        if (slice_eq(slice_cut(&line, '='), key))
            return true;
    }
    return false;
}

static enum fixup_fault take_tag(struct fixup *f, struct slice value)
{
    struct slice text = slice_trim(value), rest = text;
    const struct slice key = slice_trim(slice_cut(&rest, '='));
    const struct slice said = slice_trim(rest);
    if (f->n_tags == FIXUP_TAGS_MAX)
        return FIXUP_NOT_TAGS;
    if (!is_key(key) || !is_text(said))
        return FIXUP_NOT_TAG;
    if (has_key(buf_slice(&f->tags), key))
        return FIXUP_NOT_TAG_TWICE;
    f->tags.max = TAGS_OCTETS_MAX;
    if (f->n_tags++)
        buf_add_u8(&f->tags, '\n');
    buf_add(&f->tags, key);
    buf_add_u8(&f->tags, '=');
    buf_add(&f->tags, said);
    return FIXUP_FINE;
}

static void look_at_tag(struct fixup *f, struct slice value)
{
    if (f->tag_fault != FIXUP_FINE)
        return;
    f->tag_fault = take_tag(f, value);
    if (f->tag_fault == FIXUP_NOT_TAG || f->tag_fault == FIXUP_NOT_TAG_TWICE)
        f->bad_tag = slice_head(slice_trim(value), FIXUP_TAG_KEY_MAX + 1 + FIXUP_TAG_VALUE_MAX);
}

void fixup_look(struct fixup *f, struct slice section)
{
    struct header_field field;
    while (header_next(&section, &field)) {
        const enum fixup_field what = field_of(field.name);
        f->fields++;
        f->broken_line |= !lines_are_fine(field.raw);
        if (what == FIXUP_OTHER)
            continue;
        f->seen |= UINT32_C(1) << what;
        f->from += what == FIXUP_FROM;
        if (what == FIXUP_TAG)
            look_at_tag(f, field.value);
        else if (what == FIXUP_TLS_REQUIRED)
            f->tls_optional |= slice_ieq(slice_trim(field.value), SLICE_LIT("No"));
    }
}

void fixup_done(struct fixup *f)
{
    buf_done(&f->tags);
}

/* ---- judging ---- */

static enum fixup_fault what_is_missing(const struct fixup *f, const struct fixup_rules *r)
{
    const struct {
        uint32_t any_of;
        enum fixup_missing rule;
        enum fixup_fault fault;
    } missing[] = {
        {SET(DATE), r->date, FIXUP_NOT_NO_DATE},
        {SET(MESSAGE_ID), r->message_id, FIXUP_NOT_NO_MESSAGE_ID},
        {SET(FROM), r->from, FIXUP_NOT_NO_FROM},
        {VISIBLE_RCPT, r->to, FIXUP_NOT_NO_TO},
    };
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (missing[i].rule == FIXUP_REFUSE && !has(f, missing[i].any_of))
            return missing[i].fault;
    return FIXUP_FINE;
}

enum fixup_fault fixup_judge(const struct fixup *f, const struct header_facts *scan,
                             const struct fixup_rules *r, struct slice *ret_detail)
{
    *ret_detail = SLICE_NONE;
    if (scan->too_long)
        return FIXUP_NOT_SIZE;
    if (f->fields > r->max_fields)
        return FIXUP_NOT_FIELDS;
    if (f->broken_line)
        return FIXUP_NOT_LINES;
    if (scan->received > r->max_hops)
        return FIXUP_NOT_HOPS;
    if (f->from > 1)
        return FIXUP_NOT_TWO_FROM;
    if (f->tag_fault != FIXUP_FINE) {
        *ret_detail = f->bad_tag;
        return f->tag_fault;
    }
    return what_is_missing(f, r);
}

/* ---- writing ---- */

static void add_address(struct buf *out, const char *name, const struct fixup_words *w)
{
    buf_addf(out, "%s <", name);
    buf_add(out, w->sender.n ? w->sender : SLICE_LIT("MAILER-DAEMON@"));
    if (w->sender.n == 0)
        buf_add(out, w->hostname);
    buf_add_str(out, ">\r\n");
}

static void add_missing(struct buf *out, const struct fixup *f, const struct fixup_rules *r,
                        const struct fixup_words *w)
{
    if (r->date == FIXUP_ADD && !has(f, SET(DATE)))
        header_write_date(out, w->now);
    if (r->message_id == FIXUP_ADD && !has(f, SET(MESSAGE_ID)))
        header_write_message_id(out, w->queue_id, w->hostname);
    if (r->from == FIXUP_ADD && !has(f, SET(FROM)))
        add_address(out, "From:", w);
    if (r->to == FIXUP_ADD && !has(f, VISIBLE_RCPT))
        buf_add_str(out, "To: undisclosed-recipients:;\r\n");
}

/* RFC 5322 section 3.6.6: what a block of Resent- fields must have. */
static void add_missing_resent(struct buf *out, const struct fixup *f, const struct fixup_rules *r,
                               const struct fixup_words *w)
{
    if (r->date == FIXUP_ADD && !has(f, SET(RESENT_DATE))) {
        buf_add_str(out, "Resent-");
        header_write_date(out, w->now);
    }
    if (r->message_id == FIXUP_ADD && !has(f, SET(RESENT_MESSAGE_ID))) {
        buf_add_str(out, "Resent-");
        header_write_message_id(out, w->queue_id, w->hostname);
    }
    if (r->from == FIXUP_ADD && !has(f, SET(RESENT_FROM)))
        add_address(out, "Resent-From:", w);
}

void fixup_write(struct buf *out, const struct fixup *f, const struct fixup_rules *r,
                 const struct fixup_words *w, struct slice section)
{
    struct header_field field;
    bool resent_due = has(f, RESENT);
    add_missing(out, f, r, w);
    while (header_next(&section, &field)) {
        const enum fixup_field what = field_of(field.name);
        if (what != FIXUP_OTHER && known[what].removed)
            continue;
        if (resent_due && what != FIXUP_OTHER && (RESENT >> what & 1)) {
            add_missing_resent(out, f, r, w);
            resent_due = false;
        }
        buf_add(out, field.raw);
        if (section.n == 0 && field.raw.p[field.raw.n - 1] != '\n')
            buf_add_str(out, "\r\n"); /* BDAT may leave the last line without an end */
    }
    buf_add_str(out, "\r\n");
}

bool fixup_next_author(struct slice *rest, struct header_field *ret)
{
    while (header_next(rest, ret)) {
        const enum fixup_field what = field_of(ret->name);
        if (what == FIXUP_FROM || what == FIXUP_SENDER || what == FIXUP_RESENT_FROM ||
            what == FIXUP_RESENT_SENDER)
            return true;
    }
    return false;
}
