/* The key of recipients = "hashed" in the log section. */
#include "relay/conf/conf.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { KEY_MIN = 16, FILE_MAX = 4096 };

static ssize_t read_small(const char *path, uint8_t *p, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, p, n);
    const int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return got;
}

int conf_hash_key(const struct conf *c, uint8_t *ret, size_t max, size_t *ret_n, struct err *e)
{
    uint8_t text[FILE_MAX];
    ssize_t n = read_small(c->log_hash_key_file, text, sizeof text);
    if (n < 0)
        return err_errno(e, "hash-key-file: cannot read %s", c->log_hash_key_file);
    struct slice key = slice_trim(slice_of(text, (size_t)n));
    if (key.n < KEY_MIN || key.n > max)
        return err_set(e, -EINVAL,
                       "hash-key-file: %s holds %zu octets, and %d to %zu are wanted: openssl rand "
                       "-hex 32 > FILE",
                       c->log_hash_key_file, key.n, KEY_MIN, max);
    memcpy(ret, key.p, key.n);
    *ret_n = key.n;
    return 0;
}
