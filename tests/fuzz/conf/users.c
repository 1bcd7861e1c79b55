/* Laws: any bytes as a users file give a list or at least one problem, never both; names are good
 * and unique. */
#include "relay/conf/users.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(void *ctx, const char *line)
{
    MUST(line[0] && !strpbrk(line, "\r\n\033"));
    (*(unsigned *)ctx)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    unsigned problems = 0;
    if (fd < 0) {
        fd = memfd_create("users", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    MUST(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    struct users *us = users_load(path, count, &problems);
    MUST((us != NULL) == (problems == 0));
    for (size_t i = 0; us && i < us->n; i++) {
        const struct user *u = us->list[i];
        struct user_scram_text t;
        MUST(user_name_ok(slice_str(u->name)) && u->hash[0] && u->rate && u->tags);
        MUST(users_find(us, slice_str(u->name)) == u);
        MUST(u->n_tags <= USER_TAGS_MAX && (u->limit.recipients > 0) == (u->limit.burst > 0));
        for (size_t k = 0; k < u->n_certificates; k++)
            MUST(users_find_certificate(us, u->certificates + k * USER_CERTIFICATE_SIZE) == u);
        users_scram(us, u, slice_str(u->name), &t);
        MUST(strlen(t.salt) == 24 && strlen(t.stored_key) == 44 && strlen(t.server_key) == 44);
        user_may_send_as(u, slice_of(data, size));
    }
    users_unref(us);
    return 0;
}
