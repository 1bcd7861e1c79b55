/* Names of the files that the live one has become: STEM-20260102T030405Z-SEQ[-COPY][-torn]ENDING.
 * Only such names are ever looked into or removed. */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"

struct name {
    struct wall time;
    uint64_t seq;  /* of the last event in the file */
    unsigned copy; /* 1, or more when the name was taken */
    bool torn;
};

void names_write(struct buf *out, const char *stem, const char *ending, const struct name *n);
/* The seq of a name; false: not such a name. */
bool names_parse(struct slice name, const char *stem, const char *ending, uint64_t *ret_seq);
/* The name in the folder with the highest seq, on the heap; NULL: none. */
char *names_newest(const char *folder, const char *stem, const char *ending);
/* Removes those last written before `before`; returns how many. */
unsigned names_remove_older(const char *folder, const char *stem, const char *ending,
                            struct wall before);
