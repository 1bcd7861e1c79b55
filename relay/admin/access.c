#include "relay/admin/access.h"
#include "relay/base/log.h"
#include <grp.h>
#include <unistd.h>

enum { MODE_CLOSED = 0660, MODE_OPEN = 0666 };

static bool group_of(const char *name, gid_t *ret)
{
    char space[16384];
    struct group entry, *found = NULL;
    if (getgrnam_r(name, &entry, space, sizeof space, &found) != 0 || !found)
        return false;
    *ret = found->gr_gid;
    return true;
}

static void add_groups(const struct conf_list *names, gid_t *gids, size_t *n)
{
    for (size_t i = 0; i < names->n && *n < ACCESS_GROUPS_MAX; i++) {
        if (group_of(names->items[i], &gids[*n]))
            ++*n;
        else
            LOG(LV_WARN, "control_group_unknown", LOG_S("group", names->items[i]));
    }
}

void access_rules_of(const struct conf *c, struct access_rules *ret)
{
    *ret = (struct access_rules){.by_groups = c->control_admins.n + c->control_readers.n > 0,
                                 .owner = geteuid()};
    ret->admins[ret->n_admins++] = getegid();
    add_groups(&c->control_admins, ret->admins, &ret->n_admins);
    add_groups(&c->control_readers, ret->readers, &ret->n_readers);
}

static bool has_one(const gid_t *mine, size_t n_mine, const gid_t *wanted, size_t n_wanted)
{
    for (size_t i = 0; i < n_mine; i++)
        for (size_t k = 0; k < n_wanted; k++)
            if (mine[i] == wanted[k])
                return true;
    return false;
}

enum access access_of(const struct access_rules *r, uid_t uid, const gid_t *groups, size_t n)
{
    if (!r->by_groups || uid == 0 || uid == r->owner || has_one(groups, n, r->admins, r->n_admins))
        return ACCESS_ADMIN;
    return has_one(groups, n, r->readers, r->n_readers) ? ACCESS_READ : ACCESS_NONE;
}

const char *access_name(enum access a)
{
    static const char *const names[] = {
        [ACCESS_NONE] = "none", [ACCESS_READ] = "read", [ACCESS_ADMIN] = "admin"};
    return names[a];
}

mode_t access_mode(const struct access_rules *r)
{
    return r->by_groups ? MODE_OPEN : MODE_CLOSED;
}
