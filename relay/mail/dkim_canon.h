/*
 * What is hashed of a message: header fields and body in their relaxed canonical form (RFC 6376
 * sections 3.4.2 and 3.4.4), so that a blank or a fold that some host changes on the way breaks no
 * signature. Pure. The body streams: any split of it gives the same octets, and nothing is kept but
 * what may yet turn out to stand at the end of a line, or of the body. Private to this room.
 */
#pragma once
#include "relay/base/buf.h"

/* Appends "name:value" without a line end: name in lower case, folds undone, blanks put together,
 * none at the ends. raw: a field with its folds, with or without its last line end; room for raw.n
 * octets is enough. */
void dkim_canon_field(struct buf *out, struct slice raw);

#define DKIM_CHUNK 4096

typedef void dkim_sink(void *ctx, struct slice octets);

/* Zeroed with a sink: ready. */
struct dkim_body {
    dkim_sink *sink; /* gets the canonical octets, DKIM_CHUNK at most a call */
    void *ctx;
    bool any;           /* something has come out */
    bool blank, cr;     /* came, and what follows says what they are */
    uint64_t line_ends; /* the same: empty lines at the end of the body are none */
    size_t n;
    uint8_t chunk[DKIM_CHUNK];
};

void dkim_body_bytes(struct dkim_body *b, struct slice piece);
/* The last octets, if any. A body without any but blanks and line ends gives none at all. */
void dkim_body_end(struct dkim_body *b);
