/* What the configuration names, looked at on this machine with the rights the daemon will have. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/conf/options.h"
#include "relay/conf/users.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

struct checking {
    const struct conf_own *o;
    struct teller t;
    bool other; /* started as root, to become uid:gid */
    uid_t uid;
    gid_t gid;
};

/* need: R_OK, W_OK, X_OK as bits 4, 2, 1. Supplementary groups of the account are left out. */
static bool may(const struct checking *k, const char *path, const struct stat *st, unsigned need)
{
    if (!k->other)
        return faccessat(AT_FDCWD, path, (int)need, AT_EACCESS) == 0;
    unsigned shift = st->st_uid == k->uid ? 6 : st->st_gid == k->gid ? 3 : 0;
    return k->uid == 0 || (((unsigned)st->st_mode >> shift) & need) == need;
}

static void check_readable(struct checking *k, enum conf_section s, const char *key,
                           size_t instance, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        tell_at(&k->t, k->o, s, key, instance, "%s: %s: %s", key, path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        tell_at(&k->t, k->o, s, key, instance, "%s: %s is not a file", key, path);
    else if (!may(k, path, &st, R_OK))
        tell_at(&k->t, k->o, s, key, instance, "%s: %s cannot be read%s%s%s", key, path,
                k->other ? " by user " : "", k->other ? k->o->c.user : "",
                k->other ? ": let its group read it (chgrp, chmod g+r)" : "");
}

/* The daemon makes the folder when it is missing, if it may write in the nearest one that exists.
 */
static void check_writable(struct checking *k, enum conf_section s, const char *key,
                           const char *path, bool is_folder)
{
    struct stat st = {0};
    DEFER_FREE char *folder = slice_dup(slice_str(path));
    bool exact = is_folder;
    char *end = folder + strlen(folder);
    if (!is_folder && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        tell_at(&k->t, k->o, s, key, 0, "%s: %s is a folder", key, path);
        return;
    }
    while (!exact || stat(folder, &st) < 0) {
        exact = true;
        while (end > folder && *end != '/')
            end--;
        if (end == folder) {
            *end++ = '/';
            *end = 0;
            (void)stat(folder, &st);
            break;
        }
        *end = 0;
    }
    /* Root makes and gives away what is missing. */
    bool is_made_by_root = k->other && strcmp(folder, path) != 0;
    if (!S_ISDIR(st.st_mode))
        tell_at(&k->t, k->o, s, key, 0, "%s: %s is not a folder", key, folder);
    else if (!is_made_by_root && !may(k, folder, &st, W_OK | X_OK))
        tell_at(&k->t, k->o, s, key, 0, "%s: %s cannot be written%s%s", key, folder,
                k->other ? " by user " : "", k->other ? k->o->c.user : "");
}

static void check_secret(struct checking *k, const char *key, size_t instance, const char *path)
{
    struct stat st;
    if (!path[0])
        return;
    check_readable(k, S_DESTINATION, key, instance, path);
    if (stat(path, &st) == 0 && st.st_mode & S_IROTH)
        tell_at(&k->t, k->o, S_DESTINATION, key, instance,
                "%s: %s can be read by everyone: chmod 640 (or 600) it", key, path);
}

static void check_login(struct checking *k, size_t instance)
{
    const struct conf_destination *d = &k->o->c.destinations[instance];
    struct stat st;
    check_secret(k, "password-file", instance, d->password_file);
    check_secret(k, "token-file", instance, d->token_file);
    if (d->token_command.n == 0)
        return;
    const char *program = d->token_command.items[0];
    if (program[0] != '/')
        tell_at(&k->t, k->o, S_DESTINATION, "token-command", instance,
                "token-command: %s is not the path of a program, from / on", program);
    else if (stat(program, &st) < 0)
        tell_at(&k->t, k->o, S_DESTINATION, "token-command", instance, "token-command: %s: %s",
                program, strerror(errno));
    else if (!S_ISREG(st.st_mode) || !may(k, program, &st, X_OK))
        tell_at(&k->t, k->o, S_DESTINATION, "token-command", instance,
                "token-command: %s cannot be run%s%s", program, k->other ? " by user " : "",
                k->other ? k->o->c.user : "");
}

/* At the start root could read them; a reload happens as the account. */
static void check_tls(struct checking *k, size_t instance)
{
    const struct conf_tls *s = &k->o->c.tls[instance];
    for (size_t i = 0; i < s->key.n; i++) {
        struct stat st;
        const char *key = s->key.items[i];
        check_readable(k, S_TLS, "certificate", instance, s->certificate.items[i]);
        check_readable(k, S_TLS, "key", instance, key);
        if (stat(key, &st) == 0 && st.st_mode & S_IROTH)
            tell_at(&k->t, k->o, S_TLS, "key", instance,
                    "key: %s can be read by everyone: chmod 640 (or 600) it", key);
    }
}

static void check_key_of_mail(struct checking *k, size_t instance, const char *path)
{
    struct stat st;
    check_readable(k, S_DKIM, "key", instance, path);
    if (stat(path, &st) == 0 && st.st_mode & S_IROTH)
        tell_at(&k->t, k->o, S_DKIM, "key", instance,
                "key: %s can be read by everyone: chmod 640 (or 600) it", path);
}

static void check_account(struct checking *k)
{
    const char *user = k->o->c.user;
    if (!user[0])
        return;
    struct passwd entry, *found = NULL;
    char text[4096];
    if (getpwnam_r(user, &entry, text, sizeof text, &found) != 0 || !found) {
        tell_at(&k->t, k->o, S_TOP, "user", 0, "user: there is no account \"%s\" on this machine",
                user);
        return;
    }
    k->other = geteuid() == 0 && entry.pw_uid != 0;
    k->uid = entry.pw_uid;
    k->gid = entry.pw_gid;
}

static bool has_destination(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_destinations; i++)
        if (strcmp(c->destinations[i].name, name) == 0)
            return true;
    return false;
}

static void check_users(struct checking *k)
{
    const struct conf *c = &k->o->c;
    const unsigned before = k->t.problems;
    check_readable(k, S_USERS, "file", 0, c->users_file);
    if (before != k->t.problems)
        return;
    struct users *us = users_load(c->users_file, k->t.say, k->t.ctx);
    k->t.problems += !us; /* users_load has told them */
    for (size_t i = 0; us && i < us->n; i++) {
        const struct user *u = us->list[i];
        if (u->destination[0] && !has_destination(c, u->destination))
            tell(&k->t, c->users_file, u->line,
                 "user %s: destination=%s is not in the configuration", u->name, u->destination);
    }
    users_unref(us);
}

static void check_groups(struct checking *k, const char *key, const struct conf_list *names)
{
    struct group entry, *found = NULL;
    char space[16384];
    for (size_t i = 0; i < names->n; i++)
        if (getgrnam_r(names->items[i], &entry, space, sizeof space, &found) != 0 || !found)
            tell_at(&k->t, k->o, S_CONTROL, key, 0, "%s: there is no group \"%s\" on this machine",
                    key, names->items[i]);
}

/* A dead socket is replaced at the start, and nothing else is. */
static void check_socket(struct checking *k)
{
    const char *path = k->o->c.control_socket;
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode) && !S_ISDIR(st.st_mode))
        tell_at(&k->t, k->o, S_CONTROL, "socket", 0,
                "socket: something else is at %s: choose a path of its own", path);
}

unsigned conf_check(const struct conf *c, conf_say *say, void *ctx)
{
    struct checking k = {.o = (const struct conf_own *)c,
                         .t = {.say = say, .ctx = ctx, .path = c->path}};
    check_account(&k);
    for (size_t i = 0; i < c->n_tls; i++)
        check_tls(&k, i);
    for (size_t i = 0; i < c->n_listeners; i++)
        if (c->listeners[i].client_ca[0])
            check_readable(&k, S_LISTENER, "client-ca", i, c->listeners[i].client_ca);
    for (size_t i = 0; i < c->n_destinations; i++)
        check_login(&k, i);
    for (size_t i = 0; i < c->n_dkim; i++)
        for (size_t n = 0; n < c->dkim[i].key.n; n++)
            check_key_of_mail(&k, i, c->dkim[i].key.items[n]);
    check_writable(&k, S_SPOOL, "path", c->spool_path, true);
    check_writable(&k, S_LOG, "deliveries", c->log_deliveries, false);
    if (c->log_recipients == CONF_RECIPIENTS_HASHED)
        check_readable(&k, S_LOG, "hash-key-file", 0, c->log_hash_key_file);
    check_writable(&k, S_CONTROL, "socket", c->control_socket, false);
    check_socket(&k);
    check_groups(&k, "admins", &c->control_admins);
    check_groups(&k, "readers", &c->control_readers);
    if (c->users_file[0])
        check_users(&k);
    return k.t.problems;
}
