/* Names of the files that the live one has become: STEM-20260102T030405Z-SEQ[-COPY][-torn]ENDING,
 * with .zst behind it when compressed. Only such names are ever looked into or removed. */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"

#define NAMES_PACKED ".zst"

struct name {
    struct wall time;
    uint64_t seq;  /* of the last event in the file */
    unsigned copy; /* 1, or more when the name was taken */
    bool torn;
};

/* "/var/log/delivery.jsonl": folder "/var/log", stem "delivery", ending ".jsonl". All on the heap.
 */
struct names {
    char *folder, *stem, *ending;
};
/* False: the path names no file. */
bool names_init(struct names *n, const char *path);
void names_done(struct names *n);

void names_write(struct buf *out, const struct names *of, const struct name *n);
/* The seq of a name, and whether it is a compressed file's; false: not such a name. */
bool names_parse(struct slice name, const struct names *of, uint64_t *ret_seq, bool *ret_packed);

/* The files set aside that are there now (regular ones; links are not followed), by seq, then by
 * name, so that each stands behind those that were written before it. */
struct names_file {
    char *name;
    uint64_t seq, bytes;
    int64_t written_s; /* when something was last written to it, wall clock */
    bool packed;
};
struct names_list {
    struct names_file *at;
    size_t n;
};
/* 0, or negative errno: the folder cannot be read. */
int names_list(struct names_list *ret, const struct names *of);
void names_list_done(struct names_list *l);
