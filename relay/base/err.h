/* Our trouble (disk, memory, configuration): a negative errno and a sentence for a person. Never
 * the mail's fate. */
#pragma once
#include <stdarg.h>

struct err {
    int code;       /* 0, or a negative errno */
    char text[500]; /* what failed, on what, why; no newline */
};

/* Fills e (may be NULL) and returns code, so `return err_set(e, -ENOENT, "no such key %s", path);`
 */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with ": strerror(errno)" behind the text; returns -errno. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
