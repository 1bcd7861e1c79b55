/*
 * The inside of the re-encoder, shared by reencode.c (header sections and delimiters) and
 * reencode_body.c (what stands between them). Nobody else includes this.
 */
#pragma once
#include "relay/mail/mime.h"
#include "relay/mail/reencode.h"

enum {
    LINE_OCTETS = 998,
    LINE_GATHERED = LINE_OCTETS + 2,
    DELIMITER_GATHERED = MIME_BOUNDARY_MAX + 120, /* its padding is bounded, too */
    HELD = 65536,
    BASE64_LINE = 57 /* octets that make 76 letters */
};

enum eol { EOL_NONE, EOL_LF, EOL_CRLF };

enum mode {
    LOOKING,  /* labelled as lines, or not at all: kept when it proves to be lines */
    ENCODING, /* base64 */
    STRICT,   /* copied; what is no line cannot be converted */
    LINES,    /* copied; line ends are mended: a bare CR is a blank, a bare LF is a line end */
    LOOSE /* as LINES, and long lines are folded: nobody reads it, or blanks mean nothing in it */
};

enum field { FIELD_OTHER, FIELD_TYPE, FIELD_LABEL, FIELD_DROPPED };

/* The header section under way. */
struct head {
    bool of_message; /* not of a part */
    bool in_digest, begun, in_field, has_version, has_type, has_label, holding;
    enum field field;
    size_t label_n; /* the label's octets at the start of what is held */
};

struct reencode {
    struct mime_boundary open[REENCODE_DEPTH_MAX]; /* of the multiparts that we are inside of */
    bool is_digest[REENCODE_DEPTH_MAX];
    size_t depth;
    bool in_head;
    struct head head;
    struct buf type, label; /* values of the two fields, as far as they matter */
    struct buf held; /* of the header section; behind it (from head_n on) what is looked at */
    size_t head_n;
    bool has_blank; /* the header section had its empty line */
    struct buf line;
    bool at_start; /* of a line of the body */
    bool cr;       /* one has come and is not given yet */
    enum eol eol;  /* the same */
    enum mode mode;
    size_t column;
    uint8_t rest[BASE64_LINE]; /* octets that wait for a full line */
    size_t rest_n;
    const char *problem;
    struct buf *out; /* during a call */
};

/* ---- reencode_body.c ---- */

/* The first problem stays. */
void reencode_fail(struct reencode *r, const char *problem);
void reencode_put(struct reencode *r, const char *text);
/* The header section that is held back, with another label or (NULL) its own. */
void reencode_write_head(struct reencode *r, const char *label);
/* Bytes of a body without LF; a CR among them is none of a line end. */
void reencode_give(struct reencode *r, struct slice s);
/* The same, of a line that goes on: a CR at the end may belong to its end. */
void reencode_take_text(struct reencode *r, struct slice s);
/* The line end that waits belongs to the body. */
void reencode_end_line(struct reencode *r);
/* In front of a delimiter, or at the end of all. */
void reencode_end_body(struct reencode *r);
