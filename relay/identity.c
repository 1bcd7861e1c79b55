#include "relay/identity.h"
#include "relay/base/defer.h"
#include "relay/base/slice.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only the last part is given away, and only when it is new: what stands there is somebody's. */
static int make_folder(const char *path, mode_t mode, const struct passwd *account, struct err *e)
{
    DEFER_FREE char *part = slice_dup(slice_str(path));
    for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return err_errno(e, "cannot make the folder %s", part);
        *p = '/';
    }
    if (mkdir(path, mode) < 0)
        return errno == EEXIST ? 0 : err_errno(e, "cannot make the folder %s", path);
    if (lchown(path, account->pw_uid, account->pw_gid) < 0)
        return err_errno(e, "cannot give %s to user %s", path, account->pw_name);
    return 0;
}

static int make_folder_of(const char *file, mode_t mode, const struct passwd *account,
                          struct err *e)
{
    DEFER_FREE char *folder = slice_dup(slice_str(file));
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return 0;
    *slash = 0;
    return make_folder(folder, mode, account, e);
}

static int make_folders(const struct conf *c, const struct passwd *account, struct err *e)
{
    int rc = make_folder(c->spool_path, 0700, account, e);
    if (rc == 0)
        rc = make_folder_of(c->log_deliveries, 0750, account, e);
    if (rc == 0)
        rc = make_folder_of(c->control_socket, 0755, account, e);
    return rc;
}

static const struct passwd *account_of(const struct conf *c, struct err *e)
{
    const struct passwd *account = getpwnam(c->user);
    if (!account)
        err_set(e, -ENOENT, "%s: there is no account \"%s\": create it, or remove the `user` line",
                c->path, c->user);
    return account;
}

int identity_take(struct identity *me, const struct conf *c, struct err *e)
{
    *me = (struct identity){0};
    if (!c->user[0] || geteuid() != 0)
        return 0;
    const struct passwd *account = account_of(c, e);
    if (!account)
        return e->code;
    if (account->pw_uid == 0)
        return 0;
    int rc = make_folders(c, account, e);
    if (rc < 0)
        return rc;
    if (initgroups(c->user, account->pw_gid) != 0 || setegid(account->pw_gid) != 0 ||
        seteuid(account->pw_uid) != 0)
        return err_errno(e, "cannot become user %s", c->user);
    me->is_other = true;
    return 0;
}

int identity_root(const struct identity *me, struct err *e)
{
    return me->is_other && seteuid(0) != 0 ? err_errno(e, "cannot become root again") : 0;
}

int identity_drop(const struct identity *me, const struct conf *c, struct err *e)
{
    if (!me->is_other)
        return 0;
    const struct passwd *account = account_of(c, e);
    if (!account)
        return e->code;
    if (setresgid(account->pw_gid, account->pw_gid, account->pw_gid) != 0 ||
        setresuid(account->pw_uid, account->pw_uid, account->pw_uid) != 0)
        return err_errno(e, "cannot become user %s", c->user);
    return 0;
}
