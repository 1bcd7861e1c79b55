#include "relay/smtp/hidden.h"
#include "relay/base/base64.h"

/* Read from base 64: shorter ones are words of every reply. */
enum { DECODED_MAX = 12288, DECODED_LEAST = 6 };

static size_t count(const struct smtp_hidden *h)
{
    return h->n < HIDDEN_MAX ? h->n : HIDDEN_MAX;
}

static bool is_somewhere(struct slice line, uint64_t hash, size_t n)
{
    for (size_t i = 0; i + n <= line.n; i++)
        if (slice_hash(slice_of(line.p + i, n)) == hash)
            return true;
    return false;
}

bool smtp_hidden_in(const struct smtp_hidden *h, struct slice line)
{
    for (size_t i = 0; i < count(h); i++)
        if (is_somewhere(line, h->of[i].hash, h->of[i].n))
            return true;
    return false;
}

/* What is there already takes no other one's place. */
void smtp_hidden_add(struct smtp_hidden *h, struct slice secret)
{
    struct slice start = slice_head(secret, HIDDEN_SIZE);
    if (start.n < HIDDEN_LEAST || smtp_hidden_in(h, start))
        return;
    size_t at = h->n++ % HIDDEN_MAX;
    h->of[at].hash = slice_hash(start);
    h->of[at].n = (uint8_t)start.n;
}

/* PLAIN: behind the second NUL (RFC 4616); a token: behind "Bearer " (RFC 7628); LOGIN: all. */
static struct slice secret_of(struct slice decoded)
{
    const struct slice mark = SLICE_LIT("Bearer ");
    const size_t token = slice_find_slice(decoded, mark);
    if (token < decoded.n) {
        struct slice rest = slice_skip(decoded, token + mark.n);
        return slice_cut(&rest, 1);
    }
    struct slice rest = decoded;
    for (size_t n; (n = slice_find(rest, 0)) < rest.n;)
        rest = slice_skip(rest, n + 1);
    return rest;
}

void smtp_hidden_add_login(struct smtp_hidden *h, struct slice line)
{
    struct buf decoded = BUF_MAX(DECODED_MAX);
    smtp_hidden_add(h, line);
    if (base64_decode(&decoded, line)) {
        struct slice secret = secret_of(buf_slice(&decoded));
        if (secret.n >= DECODED_LEAST)
            smtp_hidden_add(h, secret);
    }
    if (decoded.p)
        explicit_bzero(decoded.p, decoded.cap);
    buf_done(&decoded);
}
