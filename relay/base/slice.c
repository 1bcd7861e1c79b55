#include "relay/base/slice.h"
#include "relay/base/bytes.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <pthread.h>

uint8_t byte_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_ieq(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (byte_lower(a.p[i]) != byte_lower(b.p[i]))
            return false;
    return true;
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t common = a.n < b.n ? a.n : b.n;
    int order = common ? memcmp(a.p, b.p, common) : 0;
    if (order != 0)
        return order;
    return (a.n > b.n) - (a.n < b.n);
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && slice_eq(slice_head(s, prefix.n), prefix);
}

bool slice_istarts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && slice_ieq(slice_head(s, prefix.n), prefix);
}

bool slice_iends(struct slice s, struct slice suffix)
{
    return s.n >= suffix.n && slice_ieq(slice_skip(s, s.n - suffix.n), suffix);
}

size_t slice_find(struct slice s, uint8_t c)
{
    const uint8_t *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : s.n;
}

size_t slice_find_slice(struct slice haystack, struct slice needle)
{
    if (needle.n == 0)
        return 0;
    if (needle.n > haystack.n)
        return haystack.n;
    const uint8_t *at = memmem(haystack.p, haystack.n, needle.p, needle.n);
    return at ? (size_t)(at - haystack.p) : haystack.n;
}

struct slice slice_behind_last(struct slice s, uint8_t sep)
{
    const uint8_t *at = s.n ? memrchr(s.p, sep, s.n) : NULL;
    return at ? slice_skip(s, (size_t)(at - s.p) + 1) : SLICE_NONE;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice s)
{
    while (s.n && is_space(s.p[0]))
        s = slice_skip(s, 1);
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct slice slice_cut(struct slice *rest, uint8_t sep)
{
    size_t at = slice_find(*rest, sep);
    struct slice part = slice_head(*rest, at);
    *rest = slice_skip(*rest, at < rest->n ? at + 1 : at);
    return part;
}

bool slice_u64(struct slice s, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

/* Only the last star is ever tried again (an earlier one cannot match better), so the work is at
 * most pattern x text and a crafted pattern cannot blow it up. */
bool slice_glob(struct slice pattern, struct slice s)
{
    size_t pi = 0, si = 0, star = SIZE_MAX, star_si = 0;
    while (si < s.n) {
        if (pi < pattern.n && pattern.p[pi] == '*') {
            star = pi++;
            star_si = si;
        } else if (pi < pattern.n &&
                   (pattern.p[pi] == '?' || byte_lower(pattern.p[pi]) == byte_lower(s.p[si]))) {
            pi++;
            si++;
        } else if (star != SIZE_MAX) {
            pi = star + 1;
            si = ++star_si;
        } else {
            return false;
        }
    }
    while (pi < pattern.n && pattern.p[pi] == '*')
        pi++;
    return pi == pattern.n;
}

char *slice_dup(struct slice s)
{
    char *copy = must_alloc(s.n + 1);
    if (s.n)
        memcpy(copy, s.p, s.n);
    return copy;
}

/* SipHash-1-3 (Aumasson, Bernstein): as strong against crafted collisions as the key is secret. */
static uint64_t hash_key[2];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void hash_make_key(void)
{
    rand_bytes(hash_key, sizeof hash_key);
}

static inline uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

uint64_t slice_hash(struct slice s)
{
    pthread_once(&hash_once, hash_make_key);
    uint64_t v[4] = {hash_key[0] ^ 0x736f6d6570736575U, hash_key[1] ^ 0x646f72616e646f6dU,
                     hash_key[0] ^ 0x6c7967656e657261U, hash_key[1] ^ 0x7465646279746573U};
    size_t i = 0;
    for (; s.n - i >= 8; i += 8) {
        uint64_t word = get_u64(s.p + i);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t tail = (uint64_t)s.n << 56;
    for (int shift = 0; i < s.n; i++, shift += 8)
        tail |= (uint64_t)s.p[i] << shift;
    v[3] ^= tail;
    sip_round(v);
    v[0] ^= tail;
    v[2] ^= 0xff;
    for (int round = 0; round < 3; round++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
