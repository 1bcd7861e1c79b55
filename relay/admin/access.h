/*
 * Who may do what at the control socket. Without `control.admins` and `control.readers` the file's
 * mode says it: whoever can open it may do everything. With them anybody can open it, and who is at
 * the other end (SO_PEERCRED, SO_PEERGROUPS) decides: root, the daemon's own account and the
 * members of its own group or of a group in `admins` may do everything, members of a group in
 * `readers` may look, all others nothing.
 */
#pragma once
#include "relay/conf/conf.h"
#include <sys/types.h>

enum access { ACCESS_NONE, ACCESS_READ, ACCESS_ADMIN };
#define ACCESS_GROUPS_MAX 64

struct access_rules {
    bool by_groups; /* else by the file's mode */
    uid_t owner;
    gid_t admins[ACCESS_GROUPS_MAX], readers[ACCESS_GROUPS_MAX];
    size_t n_admins, n_readers;
};

/* Looks the groups up; one that is not there gives nobody anything, and is logged. */
void access_rules_of(const struct conf *c, struct access_rules *ret);
/* Pure. */
enum access access_of(const struct access_rules *r, uid_t uid, const gid_t *groups, size_t n);
const char *access_name(enum access a); /* "none" "read" "admin" */
/* The file's mode. */
mode_t access_mode(const struct access_rules *r);
