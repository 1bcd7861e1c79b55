#include "relay/tls/fifo.h"
#include "relay/base/must.h"

void fifo_init(struct fifo *f, size_t max_bytes)
{
    buf_init(&f->b, max_bytes);
    f->taken = 0;
}

void fifo_done(struct fifo *f)
{
    buf_done(&f->b);
    f->taken = 0;
}

bool fifo_add(struct fifo *f, struct slice s)
{
    /* Moving pays only when at least as much goes as stays: each byte is moved once on average. */
    if (f->taken && f->taken >= fifo_size(f)) {
        buf_drop(&f->b, f->taken);
        f->taken = 0;
    }
    bool ok = buf_add(&f->b, s);
    f->b.overflow = false;
    return ok;
}

void fifo_take(struct fifo *f, size_t n)
{
    MUST(n <= fifo_size(f));
    f->taken += n;
    if (f->taken < f->b.n)
        return;
    if (f->b.cap > FIFO_KEEP)
        buf_done(&f->b);
    buf_reset(&f->b);
    f->taken = 0;
}
