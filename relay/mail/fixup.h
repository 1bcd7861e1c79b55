/*
 * What is mended in the header section of a message that is handed in (RFC 6409 section 8), what is
 * taken off it, and for what it is refused. Pure. The section lies in memory, because only its end
 * tells what is missing; the body never comes here. README.md has the table with the reasons.
 * Law: a section that was mended is mended again by adding nothing but its trace field.
 * Bounds: the section and its fields as configured; 16 tags.
 */
#pragma once
#include "relay/mail/header.h"

#define FIXUP_TAGS_MAX 16
#define FIXUP_TAG_KEY_MAX 32
#define FIXUP_TAG_VALUE_MAX 128

/* What becomes of a message that lacks a field. */
enum fixup_missing { FIXUP_ADD, FIXUP_REFUSE, FIXUP_KEEP };

struct fixup_rules {
    enum fixup_missing date, message_id, from, to;
    size_t max_octets; /* of the section */
    unsigned max_fields, max_hops;
};

enum fixup_field {
#define X(field, name, removed) FIXUP_##field,
#include "relay/mail/fixup.def"
#undef X
    FIXUP_OTHER
};

enum fixup_fault {
    FIXUP_FINE,
#define X(fault, code, class_, subject, detail, text) FIXUP_NOT_##fault,
#include "relay/mail/fixup_faults.def"
#undef X
};

/* Zeroed: ready. */
struct fixup {
    uint32_t seen; /* a set of 1 << enum fixup_field */
    unsigned fields, from;
    bool broken_line;  /* in the section */
    bool tls_optional; /* "TLS-Required: No", RFC 8689 section 5 */
    struct buf tags;   /* KEY=VALUE, one a line, without the last line end */
    unsigned n_tags;
    enum fixup_fault tag_fault; /* the first one, and the value that has it */
    struct slice bad_tag;
};

/* Looks at the section, with or without its empty line, without an mbox line. It is borrowed as
 * long as f is in use. */
void fixup_look(struct fixup *f, struct slice section);
void fixup_done(struct fixup *f);
/* The first fault; *ret_detail is the text at fault, or empty. */
enum fixup_fault fixup_judge(const struct fixup *f, const struct header_facts *scan,
                             const struct fixup_rules *r, struct slice *ret_detail);

/* What an added field says. */
struct fixup_words {
    struct slice queue_id, hostname;
    struct slice sender; /* the reverse-path, "" gives MAILER-DAEMON */
    struct wall now;
};

/* Appends the section as it is kept, an empty line at its end, with what is missing in front. Adds
 * at most 2 KiB to it. */
void fixup_write(struct buf *out, const struct fixup *f, const struct fixup_rules *r,
                 const struct fixup_words *w, struct slice section);

/* The next field that says who the message is from: From, Sender, Resent-From, Resent-Sender. */
bool fixup_next_author(struct slice *rest, struct header_field *ret);
