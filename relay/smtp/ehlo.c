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
    {"BINARYMIME", offsetof(struct smtp_peer, binarymime)},               /* RFC 3030 */
    {"REQUIRETLS", offsetof(struct smtp_peer, requiretls)},               /* RFC 8689 */
    {"MT-PRIORITY", offsetof(struct smtp_peer, mt_priority)},             /* RFC 6710 */
    {"DELIVERBY", offsetof(struct smtp_peer, deliver_by)},                /* RFC 2852 */
};

/* The number that is the first parameter; 0: none that makes sense. */
static uint64_t first_number(struct slice rest)
{
    uint64_t n;
    rest = slice_trim(rest);
    return slice_u64(slice_cut(&rest, ' '), UINT64_MAX, &n) ? n : 0;
}

/* RFC 9422 section 4: names of limits that are not known are passed over. */
static void read_limits(struct smtp_peer *peer, struct slice rest)
{
    while (rest.n > 0) {
        struct slice value = slice_cut(&rest, ' ');
        struct slice name = slice_cut(&value, '=');
        if (slice_ieq(name, SLICE_LIT("MAILMAX")))
            peer->mail_max = first_number(value);
        else if (slice_ieq(name, SLICE_LIT("RCPTMAX")))
            peer->rcpt_max = first_number(value);
        else if (slice_ieq(name, SLICE_LIT("RCPTDOMAINMAX")))
            peer->rcpt_domain_max = first_number(value);
    }
}

static bool is_mechanism_byte(uint8_t b)
{
    return (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') || b == '-' || b == '_';
}

/* RFC 4422 section 3.1: at most 20 of A-Z, 0-9, "-" and "_". */
static void add_mechanism(struct smtp_peer *peer, struct slice name)
{
    size_t used = strlen(peer->auth);
    char text[22];
    if (name.n == 0 || name.n > 20 || used + name.n + 1 >= sizeof peer->auth)
        return;
    for (size_t i = 0; i < name.n; i++) {
        uint8_t b = byte_lower(name.p[i]);
        text[i] = (char)(b >= 'a' && b <= 'z' ? b - 'a' + 'A' : b);
        if (!is_mechanism_byte((uint8_t)text[i]))
            return;
    }
    text[name.n] = ' ';
    text[name.n + 1] = 0;
    if (!smtp_peer_offers(peer, slice_of(text, name.n)))
        memcpy(peer->auth + used, text, name.n + 2);
}

/* "AUTH PLAIN LOGIN", and "AUTH=PLAIN LOGIN" of old servers (53). */
static void read_auth(struct smtp_peer *peer, struct slice rest)
{
    while (rest.n > 0)
        add_mechanism(peer, slice_cut(&rest, ' '));
}

bool smtp_peer_offers(const struct smtp_peer *peer, struct slice mechanism)
{
    struct slice rest = slice_str(peer->auth);
    while (rest.n > 0)
        if (slice_eq(slice_cut(&rest, ' '), mechanism))
            return true;
    return false;
}

void smtp_ehlo_line(struct smtp_peer *peer, struct slice line)
{
    struct slice rest = slice_trim(line);
    struct slice keyword = slice_trim(slice_cut(&rest, ' '));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (slice_ieq(keyword, slice_str(keywords[i].keyword)))
            *(bool *)((char *)peer + keywords[i].flag) = true;
    }
    if (slice_ieq(keyword, SLICE_LIT("SIZE")))
        peer->max_size = first_number(rest);
    else if (slice_ieq(keyword, SLICE_LIT("DELIVERBY")))
        peer->deliver_by_min = first_number(rest);
    else if (slice_ieq(keyword, SLICE_LIT("LIMITS")))
        read_limits(peer, rest);
    else if (slice_ieq(keyword, SLICE_LIT("AUTH")))
        read_auth(peer, rest);
    else if (slice_istarts(slice_trim(line), SLICE_LIT("AUTH=")))
        read_auth(peer, slice_skip(slice_trim(line), 5));
}
