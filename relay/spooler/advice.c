#include "relay/spooler/advice.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What a person can do about it. */
static const struct {
    int error;
    const char *advice;
} advices[] = {
    {EROFS, "mount that file system for writing and start again"},
    {ENOSPC, "make room on that file system and start again"},
    {EDQUOT, "raise the quota or make room and start again"},
    {EACCES, "the folder and all in it must belong to the account that postwain runs as"},
    {EPERM, "the folder and all in it must belong to the account that postwain runs as"},
    {EMFILE, "raise the limit of open files (ulimit -n, LimitNOFILE=)"},
    {ENFILE, "the system has no more open files to give"},
    {EIO, "look at the disk (dmesg); a copy on another disk can be used as the spool"},
};

int advice_explain(struct err *e, int code, const char *path)
{
    char what[300];
    snprintf(what, sizeof what, "%.299s", e->text);
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
        if (advices[i].error == -code)
            return err_set(e, code, "spool %s: %s: %s; %s", path, what, strerror(-code),
                           advices[i].advice);
    return code;
}
