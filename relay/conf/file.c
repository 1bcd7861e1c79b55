/* A small file that the configuration names and that is read with it. */
#include "relay/conf/options.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

int conf_file_read(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    struct stat st;
    int rc = 0;
    if (!f)
        return -errno;
    if (fstat(fileno(f), &st) < 0)
        rc = -errno;
    else if (!S_ISREG(st.st_mode)) /* a pipe would keep the reader waiting */
        rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    for (size_t n = 1; rc == 0 && n > 0;) {
        uint8_t *room = buf_reserve(out, 4096);
        if (!room) {
            rc = -E2BIG;
            break;
        }
        n = fread(room, 1, 4096, f);
        buf_commit(out, n);
        rc = ferror(f) ? -EIO : 0;
    }
    fclose(f);
    return rc;
}
