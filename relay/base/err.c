#include "relay/base/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (!e)
        return code;
    va_list ap;
    va_start(ap, fmt);
    e->code = code;
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    one_line(e->text);
    return code;
}

int err_errno(struct err *e, const char *fmt, ...)
{
    int number = errno;
    if (!e)
        return -number;
    char reason_space[128];
    const char *reason = strerror_r(number, reason_space, sizeof reason_space);
    va_list ap;
    va_start(ap, fmt);
    e->code = -number;
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    /* The reason is worth more than the end of a long path: it always stands there whole. */
    size_t n = strlen(e->text), tail = strlen(reason) + 2;
    if (n > sizeof e->text - 1 - tail)
        n = sizeof e->text - 1 - tail;
    snprintf(e->text + n, sizeof e->text - n, ": %s", reason);
    one_line(e->text);
    return -number;
}
