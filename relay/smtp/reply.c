#include "relay/smtp/reply.h"

void smtp_reply_parser_init(struct smtp_reply_parser *p)
{
    *p = (struct smtp_reply_parser){.raw = BUF_MAX(SMTP_REPLY_LINE_MAX),
                                    .text = BUF_MAX(SMTP_REPLY_TEXT_MAX)};
}

void smtp_reply_parser_done(struct smtp_reply_parser *p)
{
    buf_done(&p->raw);
    buf_done(&p->text);
}

bool smtp_reply_parser_busy(const struct smtp_reply_parser *p)
{
    return !p->ended && (p->lines > 0 || p->raw.n > 0);
}

static void forget_reply(struct smtp_reply_parser *p)
{
    buf_reset(&p->raw);
    buf_reset(&p->text);
    p->reply = (struct smtp_reply){0};
    p->line = SLICE_NONE;
    p->lines = 0;
    p->ended = false;
}

/* Adds one line to the text, as far as there is room. */
static void keep_text(struct smtp_reply_parser *p, struct slice text)
{
    if (p->lines > 0 && p->text.n < SMTP_REPLY_TEXT_MAX)
        buf_add_u8(&p->text, '\n');
    buf_add(&p->text, slice_head(text, SMTP_REPLY_TEXT_MAX - p->text.n));
}

/* Takes the enhanced code off the front of a line's text when it belongs to this reply code. */
static struct slice take_enhanced(struct smtp_reply *reply, struct slice text)
{
    struct enhanced e;
    size_t n = enhanced_parse(text, &e);
    if (n == 0 || (n < text.n && text.p[n] != ' ') || e.class != reply->code / 100)
        return text;
    reply->enhanced = e;
    return slice_skip(text, n + 1);
}

/* The code at the start of a line; 0 when there is none or it is outside of what SMTP has. */
static uint16_t line_code(struct slice line)
{
    uint64_t code;
    if (line.n < 3 || !slice_u64(slice_head(line, 3), 599, &code) || code < 200)
        return 0;
    return (uint16_t)code;
}

/* One whole line without its line end. */
static enum smtp_reply_result end_line(struct smtp_reply_parser *p, struct slice line)
{
    uint16_t code = line_code(line);
    if (code == 0 || (p->lines > 0 && code != p->reply.code) || p->lines == SMTP_REPLY_LINES_MAX)
        return SMTP_REPLY_BAD;
    bool last = line.n == 3 || line.p[3] == ' ';
    if (!last && line.p[3] != '-')
        return SMTP_REPLY_BAD;
    p->reply.code = code;
    p->line = slice_skip(line, 4);
    keep_text(p, take_enhanced(&p->reply, p->line));
    p->lines++;
    if (!last)
        return SMTP_REPLY_LINE;
    p->reply.text = buf_slice(&p->text);
    p->ended = true;
    return SMTP_REPLY_DONE;
}

enum smtp_reply_result smtp_reply_parse(struct smtp_reply_parser *p, struct slice *in)
{
    if (in->n == 0)
        return SMTP_REPLY_MORE;
    if (p->ended)
        forget_reply(p);
    else if (p->line.p)
        buf_reset(&p->raw); /* the line given out last time */
    p->line = SLICE_NONE;

    size_t eol = slice_find(*in, '\n');
    bool whole = eol < in->n;
    struct slice part = slice_head(*in, whole ? eol + 1 : eol);
    size_t room = SMTP_REPLY_LINE_MAX - p->raw.n;
    buf_add(&p->raw, slice_head(part, room));
    *in = slice_skip(*in, part.n < room ? part.n : room);
    if (part.n > room)
        return SMTP_REPLY_BAD;
    if (!whole)
        return SMTP_REPLY_MORE;

    struct slice line = slice_head(buf_slice(&p->raw), p->raw.n - 1);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    return end_line(p, line);
}
