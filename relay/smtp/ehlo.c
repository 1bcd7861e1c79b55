#include "relay/smtp/ehlo.h"

#include <stddef.h>

/* Keywords that are only there or not. */
static const struct {
    const char *keyword;
    size_t flag;
} keywords[] = {
    {"PIPELINING", offsetof(struct smtp_peer, pipelining)},               /* RFC 2920 */
    {"SIZE", offsetof(struct smtp_peer, size)},                           /* RFC 1870 */
    {"8BITMIME", offsetof(struct smtp_peer, eight_bit_mime)},             /* RFC 6152 */
    {"STARTTLS", offsetof(struct smtp_peer, starttls)},                   /* RFC 3207 */
    {"ENHANCEDSTATUSCODES", offsetof(struct smtp_peer, enhanced_status)}, /* RFC 2034 */
    {"CHUNKING", offsetof(struct smtp_peer, chunking)},                   /* RFC 3030 */
    {"SMTPUTF8", offsetof(struct smtp_peer, smtputf8)},                   /* RFC 6531 */
    {"DSN", offsetof(struct smtp_peer, dsn)},                             /* RFC 3461 */
};

void smtp_ehlo_line(struct smtp_peer *peer, struct slice line)
{
    struct slice rest = slice_trim(line);
    struct slice keyword = slice_trim(slice_cut(&rest, ' '));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (slice_ieq(keyword, slice_str(keywords[i].keyword)))
            *(bool *)((char *)peer + keywords[i].flag) = true;
    }
    if (slice_ieq(keyword, SLICE_LIT("SIZE"))) {
        rest = slice_trim(rest);
        uint64_t size;
        peer->max_size = slice_u64(slice_cut(&rest, ' '), UINT64_MAX, &size) ? size : 0;
    }
}
