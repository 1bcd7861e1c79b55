/*
 * The list's file: read, appended to, written anew. Not thread-safe; suppress.c has a lock around
 * it. Every call blocks. Failures: a negative errno, and the file is then to be written anew.
 */
#pragma once
#include "queue/file.h"
#include "relay/base/err.h"
#include "relay/suppress/list.h"

struct suppress_file {
    const struct file_ops *fs;
    int fd; /* -1: none yet, or it is not to be trusted */
    uint64_t end;
    size_t lines; /* in it */
};

/* Folds the file into the list. 0, or an error with e filled (also: a later format). *ret_damaged:
 * lines left out; the file should then be written anew, as when there is none (fd -1). */
int suppress_file_read(struct suppress_file *f, struct suppress_list *l, size_t *ret_damaged,
                       struct err *e);
/* Whole lines. sync: durable when it returns. */
int suppress_file_append(struct suppress_file *f, struct slice lines, bool sync);
/* Writes anew in pieces: begin, put …, end. The old file stays as it is until `end` has renamed the
 * new one over it, durable. */
struct suppress_rewrite {
    struct suppress_file to;
    int error;
};
void suppress_rewrite_begin(struct suppress_rewrite *w, const struct file_ops *fs);
void suppress_rewrite_put(struct suppress_rewrite *w, struct slice lines);
int suppress_rewrite_end(struct suppress_rewrite *w, struct suppress_file *f);
void suppress_file_close(struct suppress_file *f);
