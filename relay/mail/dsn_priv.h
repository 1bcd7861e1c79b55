/* What the files of a report share. Private to this room. */
#pragma once
#include "relay/mail/ascii.h"
#include "relay/mail/dsn.h"

enum { DSN_HOST_MAX = 255, DSN_ID_MAX = 64, DSN_ADDRESS_MAX = 256, DSN_TEXT_MAX = 4096 };

/* What others wrote: cleaned, in UTF-8 or as ASCII. */
void dsn_add_text(struct buf *out, struct slice s, bool utf8);
void dsn_add_address(struct buf *out, struct slice address, bool utf8);
/* "550 5.1.1 words", or only the words of a verdict without a reply. */
void dsn_add_answer(struct buf *out, const struct verdict *v, bool utf8);
bool dsn_has_answer(const struct verdict *v);
struct enhanced dsn_status_of(const struct dsn_recipient *r);
void dsn_add_eight_bit(struct buf *out, bool eight);

/* dsn_text.c: "Subject: …", and the first part with its fields. utf8: what is not encoded may be.
 */
void dsn_write_subject(struct buf *out, const struct dsn_input *in, bool utf8);
void dsn_write_text_part(struct buf *out, const struct dsn_input *in, bool global);
