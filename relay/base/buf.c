#include "relay/base/buf.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

enum { CAP_FIRST = 64 };

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = BUF_MAX(max_bytes);
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = BUF_MAX(b->max);
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->overflow = false;
}

/* Room for `more` bytes; the capacity doubles, so that n bytes cost O(n) copying however they come.
 */
static bool grow(struct buf *b, size_t more)
{
    if (more <= b->cap - b->n)
        return true;
    if (more > b->max - b->n)
        return false;
    size_t need = b->n + more;
    size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
    if (cap < CAP_FIRST)
        cap = CAP_FIRST < b->max ? CAP_FIRST : b->max;
    if (cap < need)
        cap = need;
    uint8_t *p = realloc(b->p, cap);
    if (!p)
        return false;
    b->p = p;
    b->cap = cap;
    return true;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    /* One byte at least, so that NULL means "no room" and nothing else. */
    if (!grow(b, n) || (!b->p && !grow(b, 1))) {
        b->overflow = true;
        return NULL;
    }
    return b->p + b->n;
}

void buf_commit(struct buf *b, size_t n)
{
    MUST(n <= b->cap - b->n);
    b->n += n;
}

bool buf_add(struct buf *b, struct slice s)
{
    if (s.n == 0)
        return true;
    uint8_t *to = buf_reserve(b, s.n);
    if (!to)
        return false;
    memcpy(to, s.p, s.n);
    b->n += s.n;
    return true;
}

bool buf_add_u8(struct buf *b, uint8_t c)
{
    uint8_t *to = buf_reserve(b, 1);
    if (!to)
        return false;
    *to = c;
    b->n++;
    return true;
}

bool buf_add_str(struct buf *b, const char *s)
{
    return buf_add(b, slice_str(s));
}

bool buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool ok = buf_addv(b, fmt, ap);
    va_end(ap);
    return ok;
}

bool buf_addv(struct buf *b, const char *fmt, va_list ap)
{
    char small[256];
    va_list again;
    va_copy(again, ap);
    int written = vsnprintf(small, sizeof small, fmt, ap);
    MUST(written >= 0);
    size_t n = (size_t)written;
    bool ok;
    if (n < sizeof small) {
        ok = buf_add(b, slice_of(small, n));
    } else if (n > b->max - b->n) {
        b->overflow = true;
        ok = false;
    } else {
        /* vsnprintf ends with a NUL for which b may have no room at its maximum. */
        char *large = malloc(n + 1);
        ok = large && vsnprintf(large, n + 1, fmt, again) == written &&
             buf_add(b, slice_of(large, n));
        b->overflow = b->overflow || !ok;
        free(large);
    }
    va_end(again);
    return ok;
}

void buf_drop(struct buf *b, size_t n)
{
    MUST(n <= b->n);
    if (n == 0)
        return;
    b->n -= n;
    memmove(b->p, b->p + n, b->n);
}

void buf_cut(struct buf *b, size_t n)
{
    MUST(n <= b->n);
    b->n = n;
}

const char *buf_str(struct buf *b)
{
    if (!grow(b, 1))
        return "";
    b->p[b->n] = 0;
    return (const char *)b->p;
}
