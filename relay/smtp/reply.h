/*
 * One SMTP reply out of a stream of bytes, resumable at any byte. RFC 5321 section 4.2, enhanced
 * codes RFC 2034.
 *
 *   reply = *( code "-" [text] EOL ) code [ SP [text] ] EOL        code = ("2" / "3" / "4" / "5")
 * 2DIGIT EOL   = CRLF / LF   ; a bare LF is taken in replies: unlike content, they end nothing but
 * themselves
 *
 * Every line has the code of the first one. The enhanced code of the latest line that has one
 * counts; one whose class is not that of the reply code is ordinary text. Text keeps the peer's
 * bytes, whatever they are (NUL included). Bounds: SMTP_REPLY_LINES_MAX lines of
 * SMTP_REPLY_LINE_MAX bytes, of which SMTP_REPLY_TEXT_MAX bytes of text are kept. Law: any split of
 * the input gives the same lines and the same reply.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/smtp/types.h"

#define SMTP_REPLY_LINE_MAX 2048 /* with its line end */
#define SMTP_REPLY_LINES_MAX 100
/* A little more than a verdict keeps, so that the verdict sees the cut and no character is torn
 * before it. */
#define SMTP_REPLY_TEXT_MAX (VERDICT_TEXT_MAX + 4)

enum smtp_reply_result {
    SMTP_REPLY_MORE, /* all bytes were taken, the line goes on */
    SMTP_REPLY_LINE, /* a line that is not the last; `line` holds its text */
    SMTP_REPLY_DONE, /* the last line; `line` and `reply` are there until the next parse */
    SMTP_REPLY_BAD   /* no reply, or past a bound; the parser is of no more use */
};

struct smtp_reply_parser {
    struct buf raw;    /* the line under way */
    struct buf text;   /* of all lines */
    struct slice line; /* text of the line just ended, with its enhanced code; borrowed from raw */
    struct smtp_reply reply;
    unsigned lines;
    bool ended; /* what is held was given out, and goes with the next byte */
};

void smtp_reply_parser_init(struct smtp_reply_parser *p);
void smtp_reply_parser_done(struct smtp_reply_parser *p);
/* Takes bytes from the front of *in up to and with one line end. */
enum smtp_reply_result smtp_reply_parse(struct smtp_reply_parser *p, struct slice *in);
/* A reply has begun and not ended. */
bool smtp_reply_parser_busy(const struct smtp_reply_parser *p);
