#include "relay/inbound/accounts.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include <stdlib.h>
#include <uv.h>

#define BROKEN_MS 1000
#define PATH_MS 1000

struct accounts {
    uv_mutex_t lock;
    char *path; /* a copy: a reload frees the configuration it came from */
    struct users *users;
    struct mono not_before; /* a broken file is not looked at again */
    struct mono path_at;    /* the path is looked at: it may lead to another file */
    bool broken;
};

struct accounts *accounts_new(const char *path)
{
    struct accounts *a = must_alloc(sizeof *a);
    MUST(uv_mutex_init(&a->lock) == 0);
    a->path = slice_dup(slice_str(path));
    return a;
}

void accounts_free(struct accounts *a)
{
    users_unref(a->users);
    uv_mutex_destroy(&a->lock);
    free(a->path);
    free(a);
}

static void say(void *ctx, const char *line)
{
    (void)ctx;
    LOG(LV_ERROR, "users_file", LOG_S("problem", line));
}

static void look(struct accounts *a, struct mono now)
{
    struct users *fresh = users_load(a->path, say, NULL);
    const bool broken = !fresh;
    metric_add(M_USERS_FILE_BROKEN, broken - a->broken);
    a->broken = broken;
    if (broken) {
        a->not_before = mono_add(now, BROKEN_MS);
        return;
    }
    users_unref(a->users);
    a->users = fresh;
}

static bool has_changed(struct accounts *a, struct mono now)
{
    if (users_touched(a->users))
        return true;
    if (!mono_reached(a->path_at, now))
        return false;
    a->path_at = mono_add(now, PATH_MS);
    return users_changed(a->users, a->path);
}

struct users *accounts_now(struct accounts *a, struct mono now)
{
    uv_mutex_lock(&a->lock);
    if (a->path[0] && mono_reached(a->not_before, now) &&
        (!a->users || a->broken || has_changed(a, now)))
        look(a, now);
    struct users *users = a->users ? (struct users *)frozen_ref(&a->users->frozen) : NULL;
    uv_mutex_unlock(&a->lock);
    return users;
}
