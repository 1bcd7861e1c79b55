/*
 * Other people's bytes made harmless for a header field or a report, and lines folded (RFC 5322
 * section 2.2.3). Private to this room. Out: printable ASCII only; no line of a fold is longer than
 * 998 octets, none longer than 78 that has a blank to fold at.
 */
#pragma once
#include "relay/base/buf.h"

/* A name, an address literal or an id: every byte but letters, digits and "-._:[]" becomes '?'; cut
 * at max. */
void ascii_token(struct buf *out, struct slice s, size_t max);
/* Words for a person: control bytes and bytes that are not UTF-8 become '?', a character past ASCII
 * \x{its number}. */
void ascii_text(struct buf *out, struct slice s);
/* An address past ASCII, in ASCII (utf-8-addr-xtext of RFC 6533 section 3): every other character,
 * "\", "+" and "=" become \x{its number}. */
void ascii_utf8_address(struct buf *out, struct slice s);
/* The same for the inside of a comment: "(", ")" and "\" become '?' too; cut at max. */
void ascii_comment(struct buf *out, struct slice s, size_t max);

struct fold {
    struct buf *out;
    const char *indent; /* starts each further line */
    size_t column;
    bool at_start; /* nothing but the indent stands on this line */
};

/* Starts with the text `first` and no blank behind it where `first` is only an indent. */
struct fold fold_begin(struct buf *out, const char *first, const char *indent);
/* One word (it may have blanks inside), with a blank or a new line before it. */
void fold_word(struct fold *f, struct slice word);
/* All words of a text. */
void fold_text(struct fold *f, struct slice text);
void fold_str(struct fold *f, const char *text);
void fold_end(struct fold *f);
