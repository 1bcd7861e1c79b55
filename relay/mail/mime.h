/*
 * The two fields of MIME that decide how a body is read (RFC 2045 sections 5 and 6, RFC 2046):
 * Content-Type and Content-Transfer-Encoding, from their values in memory. What makes no sense is
 * read as if the field were absent: a part that nobody can look into. Boundaries are at most
 * MIME_BOUNDARY_MAX octets (RFC 2046 allows 70); a multipart with a longer one, or with none, is a
 * leaf.
 */
#pragma once
#include "relay/base/slice.h"

#define MIME_BOUNDARY_MAX 200

enum mime_kind {
    MIME_LEAF,
    MIME_MULTIPART,
    MIME_DIGEST,  /* multipart/digest: its parts are messages unless they say otherwise */
    MIME_MESSAGE, /* message/rfc822, global, news: a whole message inside */
    MIME_OTHER_MESSAGE
};
enum mime_label {
    MIME_UNLABELLED,
    MIME_7BIT,
    MIME_8BIT,
    MIME_BINARY,
    MIME_QUOTED_PRINTABLE,
    MIME_BASE64,
    MIME_OTHER_LABEL
};

struct mime_boundary {
    uint8_t bytes[MIME_BOUNDARY_MAX];
    size_t n;
};

/* The value of Content-Type; *ret is set for the two multiparts only. */
enum mime_kind mime_read_type(struct slice value, struct mime_boundary *ret);
/* The value of Content-Transfer-Encoding. */
enum mime_label mime_read_label(struct slice value);
/* A line without its line end is "--boundary", perhaps with "--" (*ret_close) and blanks behind it
 * (RFC 2046 section 5.1.1); a stray CR counts as one. */
bool mime_is_delimiter(struct slice line, const struct mime_boundary *b, bool *ret_close);
