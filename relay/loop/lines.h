/*
 * Lines of text from one thread for another that has asked for them: an explanation, a transcript.
 * The object is moved, as every message; who used the text moves it back to `back`, so that never
 * more of it is out than there are objects: a reader that is slow costs its sender nothing but the
 * lines that are lost, which `lost` counts. Where `back` is NULL the reader frees it.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/loop/inbox.h"
#include <stdlib.h>

struct lines {
    struct msg msg;
    const struct port *back;
    void *cookie;    /* the asker's */
    uint64_t source; /* the sender's own */
    struct buf text; /* each line ends with LF */
    uint64_t lost;   /* lines that there was no room for, behind these */
    bool last;       /* nothing of this source follows */
    bool good;       /* of the last: it came to the end that was hoped for */
};

static inline void lines_free(struct lines *l)
{
    buf_done(&l->text);
    free(l);
}
