#include "relay/events/masked.h"
#include "relay/base/must.h"
#include <openssl/hmac.h>

enum { TEXT_MAX = 16384, ADDRESS_MAX = 1024, DIGITS = 24 };

void masked_done(struct masked *m)
{
    for (size_t i = 0; i < m->n; i++)
        buf_done(&m->texts[i]);
}

static struct buf *new_text(struct masked *m)
{
    MUST(m->n < sizeof m->texts / sizeof *m->texts);
    m->texts[m->n] = BUF_MAX(TEXT_MAX);
    return &m->texts[m->n++];
}

/* Where the local part ends: the last @, for a quoted one may hold others. */
static size_t last_at(struct slice s)
{
    size_t n = s.n;
    while (n > 0 && s.p[n - 1] != '@')
        n--;
    return n ? n - 1 : s.n;
}

struct slice masked_address(struct masked *m, struct slice address, struct slice key)
{
    uint8_t lower[ADDRESS_MAX], digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct slice s = slice_head(address, sizeof lower);
    struct buf *out = new_text(m);
    for (size_t i = 0; i < s.n; i++)
        lower[i] = byte_lower(s.p[i]);
    MUST(HMAC(EVP_sha256(), key.n ? key.p : (const uint8_t *)"", (int)key.n, lower, s.n, digest,
              &n) &&
         n >= DIGITS / 2);
    for (size_t i = 0; i < DIGITS / 2; i++)
        buf_addf(out, "%02x", digest[i]);
    buf_add(out, slice_skip(address, last_at(address)));
    return buf_slice(out);
}

struct slice masked_whole(struct masked *m, struct slice address)
{
    struct buf *out = new_text(m);
    buf_add_u8(out, '*');
    buf_add(out, slice_skip(address, last_at(address)));
    return buf_slice(out);
}

/* Octets that stand around an address in a sentence. */
static bool is_around(uint8_t c)
{
    return c <= ' ' || c == 0x7f || strchr("<>()[]{},;:\"'=|/", c);
}

struct slice masked_words(struct masked *m, struct slice words)
{
    struct buf *out = new_text(m);
    for (struct slice s = words; s.n > 0;) {
        size_t n = 0;
        while (n < s.n && !is_around(s.p[n]))
            n++;
        struct slice word = slice_head(s, n);
        size_t at = last_at(word);
        if (at < word.n && at > 0) {
            buf_add_u8(out, '*');
            word = slice_skip(word, at);
        }
        buf_add(out, word);
        if (n < s.n)
            buf_add_u8(out, s.p[n++]);
        s = slice_skip(s, n);
    }
    return buf_slice(out);
}
