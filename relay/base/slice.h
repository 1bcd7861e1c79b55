/*
 * Borrowed bytes: a pointer and a length, passed by value. Everything that comes from outside is a
 * slice, never a C string: NUL is an ordinary byte. A slice owns nothing and is valid as long as
 * its lender says. Letter case means ASCII letter case here (SMTP keywords, domain names).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *p;
    size_t n;
};

#define SLICE_LIT(literal) ((struct slice){(const uint8_t *)("" literal), sizeof(literal) - 1})
#define SLICE_NONE ((struct slice){0})
/* For printf: "%.*s", SLICE_ARG(s) */
#define SLICE_ARG(s) ((int)(s).n), ((const char *)(s).p)

static inline struct slice slice_of(const void *p, size_t n)
{
    return (struct slice){p, n};
}

static inline struct slice slice_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline struct slice slice_head(struct slice s, size_t n)
{
    return (struct slice){s.p, n < s.n ? n : s.n};
}

static inline struct slice slice_skip(struct slice s, size_t n)
{
    if (n < s.n)
        return (struct slice){s.p + n, s.n - n};
    /* NULL + 0 is undefined in C, and SLICE_NONE is ordinary. */
    return (struct slice){s.n ? s.p + s.n : s.p, 0};
}

bool slice_eq(struct slice a, struct slice b);
bool slice_ieq(struct slice a, struct slice b);
int slice_cmp(struct slice a, struct slice b); /* memcmp order, shorter first */
bool slice_starts(struct slice s, struct slice prefix);
bool slice_istarts(struct slice s, struct slice prefix);
bool slice_iends(struct slice s, struct slice suffix);
/* Index of the first byte c, or s.n when there is none. */
size_t slice_find(struct slice s, uint8_t c);
/* Index of the first needle, or haystack.n; an empty needle is found at 0. */
size_t slice_find_slice(struct slice haystack, struct slice needle);
/* What stands behind the last sep, "" when there is none. Of a mailbox and '@': its domain, since a
 * quoted local part may hold an "@" and a domain cannot. */
struct slice slice_behind_last(struct slice s, uint8_t sep);
/* Without blanks and tabs (and CR, LF) at both ends. */
struct slice slice_trim(struct slice s);
/* Cuts off and returns what stands before the first sep; *rest is moved behind it. The last part
 * leaves *rest empty. */
struct slice slice_cut(struct slice *rest, uint8_t sep);
/* Decimal digits only, value <= max; false (and *ret untouched) otherwise or when empty. */
bool slice_u64(struct slice s, uint64_t max, uint64_t *ret);
/* Shell pattern with * and ?, letter case ignored, the whole of s. */
bool slice_glob(struct slice pattern, struct slice s);
/* A NUL-terminated heap copy; the caller frees. Aborts without memory: for bytes that a cap has
 * passed before. */
char *slice_dup(struct slice s);
/* 64-bit hash, keyed per process against crafted collisions; not for storage. */
uint64_t slice_hash(struct slice s);

uint8_t byte_lower(uint8_t c);
