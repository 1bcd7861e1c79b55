/* Any bytes as replies. Laws: whole and in pieces give the same replies; every reply is within its
 * bounds. */
#include "relay/smtp/reply.h"
#include "relay/base/must.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct smtp_reply_parser *p)
{
    const struct smtp_reply *r = &p->reply;
    MUST(r->code >= 200 && r->code <= 599);
    MUST(!enhanced_is(r->enhanced) || r->enhanced.class == r->code / 100);
    MUST(r->text.n <= SMTP_REPLY_TEXT_MAX);
    MUST(p->lines >= 1 && p->lines <= SMTP_REPLY_LINES_MAX);
    MUST(p->line.n < SMTP_REPLY_LINE_MAX);
}

/* All that the bytes hold, written down; pieces of 1 + (key % 7) bytes, or whole. */
static void write_down(struct slice in, unsigned key, struct buf *out)
{
    struct smtp_reply_parser p;
    smtp_reply_parser_init(&p);
    enum smtp_reply_result r = SMTP_REPLY_MORE;
    while (in.n && r != SMTP_REPLY_BAD) {
        struct slice part = slice_head(in, key ? 1 + key % 7 : in.n);
        size_t n = part.n;
        r = smtp_reply_parse(&p, &part);
        in = slice_skip(in, n - part.n);
        MUST(r != SMTP_REPLY_MORE || part.n == 0);
        if (r == SMTP_REPLY_LINE || r == SMTP_REPLY_DONE) {
            check(&p);
            buf_addf(out, "%d %u %u.%u.%u %zu ", (int)r, p.reply.code, p.reply.enhanced.class,
                     p.reply.enhanced.subject, p.reply.enhanced.detail, p.reply.text.n);
            buf_add(out, p.line);
            buf_add(out, p.reply.text);
        }
    }
    buf_addf(out, " %s %d", r == SMTP_REPLY_BAD ? "bad" : "good", smtp_reply_parser_busy(&p));
    buf_add(out, buf_slice(&p.raw));
    smtp_reply_parser_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_MAX((size_t)64 << 20), pieces = BUF_MAX((size_t)64 << 20);
    write_down(slice_of(data, size), 0, &whole);
    for (unsigned key = 7; key < 14; key += 3) {
        buf_reset(&pieces);
        write_down(slice_of(data, size), key, &pieces);
        MUST(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    }
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
