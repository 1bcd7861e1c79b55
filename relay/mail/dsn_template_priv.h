/* A parsed template and how it is filled in. Private to this room. */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/verdict.h"
#include "relay/mail/dsn_template.h"

enum dsn_variable {
#define X(id, name, where) DSN_V_##id,
#include "relay/mail/dsn_variables.def"
#undef X
    DSN_V_COUNT_OF
};

/* The order of section_names in dsn_template.c. Behind REASON: of a delay, of a success, of each
 * class. */
enum dsn_section {
    DSN_S_FAILURE,
    DSN_S_DELAY,
    DSN_S_RELAYED,
    DSN_S_DOUBLE,
    DSN_S_RECIPIENT,
    DSN_S_REASON
};
enum {
    DSN_REASON_DELAYED,
    DSN_REASON_RELAYED,
    DSN_REASON_CLASS = 1, /* + class: those begin with 1 */
    DSN_REASONS = DSN_REASON_CLASS + CLASS_OTHER + 1
};

/* The lines of a section; "": it is not there (also of no template). */
struct slice dsn_template_get(const struct dsn_template *t, unsigned section);
/* Of a whole report; "": it has none of its own. */
struct slice dsn_template_subject(const struct dsn_template *t, enum dsn_section section);
/* The first paragraph of a section, cut off from the rest. */
struct slice dsn_template_paragraph(struct slice *rest);

/* What variables stand for. `value` adds nothing where there is nothing to say; `block` adds whole
 * lines, each behind `indent`. */
struct dsn_values {
    void *ctx;
    void (*value)(void *ctx, enum dsn_variable v, struct buf *out);
    void (*block)(void *ctx, enum dsn_variable v, const char *indent, struct buf *out);
};
/* One line without its end. False: a variable in it has nothing to say (the others are filled in).
 */
bool dsn_template_line(struct buf *out, struct slice line, const struct dsn_values *v);
/* Lines with CRLF, each behind `indent`; one with nothing to say is left out. */
void dsn_template_lines(struct buf *out, struct slice lines, const char *indent,
                        const struct dsn_values *v);
