/* Which header fields a signature covers (dkim_fields.def), and how: private to this room. Pure;
 * what is found is borrowed from the section. */
#pragma once
#include "relay/mail/dkim.h"

#define DKIM_FIELD_NAMES 40 /* room for the rows of dkim_fields.def */

/* Zeroed: ready. */
struct dkim_fields {
    struct {
        size_t n; /* how many the message has; the last DKIM_INSTANCES_MAX stand in `raw` */
        struct slice raw[DKIM_INSTANCES_MAX];
    } rows[DKIM_FIELD_NAMES];
};

void dkim_fields_look(struct dkim_fields *f, struct slice section);
/* The names of h=, in lower case with ":" between them, one for each field that is signed, or that
 * must not be there (RFC 6376 section 5.4.2). */
void dkim_fields_names(const struct dkim_fields *f, struct buf *out);
/* What is hashed of them: canonical fields, each with its CRLF, in the order of h=, of one name
 * from the bottom up; room: octets of the section and 2 a field. */
void dkim_fields_canon(const struct dkim_fields *f, struct buf *out);
