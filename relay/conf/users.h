/*
 * The users file: NAME:CRYPT-HASH:key=value,… ; a line each, '#' comments. Edited by the CLI (whole
 * file, rename) or by hand. Readers notice a change by the file's stamp. Hashing (libxcrypt,
 * yescrypt) blocks for tens of milliseconds: never on a loop.
 */
#pragma once
#include "relay/base/err.h"
#include "relay/base/frozen.h"
#include "relay/base/slice.h"
#include <sys/stat.h>

struct user {
    const char *name, *hash;
    const char **from; /* from=PATTERN: may send as these addresses; none = any */
    size_t n_from;
    const char *rate; /* as given; "" = none */
    unsigned line;
};
struct users { /* frozen */
    struct frozen frozen;
    struct user *list;
    size_t n;
    struct timespec mtime; /* stamp of what was read */
    ino_t inode;
    off_t bytes;
};
/* A missing file is an error; problems of lines go to say as FILE:LINE: message and fail the whole.
 */
struct users *users_load(const char *path, void (*say)(void *ctx, const char *line), void *ctx);
void users_unref(struct users *u);
bool users_changed(const struct users *u, const char *path); /* one stat */
const struct user *users_find(const struct users *u, struct slice name);
/* Constant time in the password; blocks. A NULL user costs the same. */
bool users_verify(const struct user *u, struct slice password);
/* "user NAME may use the envelope sender ADDRESS" */
bool user_may_send_as(const struct user *u, struct slice address);

/* For the CLI. Names: 1–64 of A-Z a-z 0-9 . _ - @ + */
bool user_name_ok(struct slice name);
int users_hash(struct slice password, char *ret_hash, size_t size, struct err *e); /* yescrypt */
/* Adds, replaces (hash) or removes (hash NULL) one line; keeps the rest as it stands; atomic
 * (temporary file, sync, rename); under a lock. */
enum users_edit { USERS_ADD, USERS_PASSWORD, USERS_REMOVE };
int users_edit(const char *path, enum users_edit what, const char *name, const char *hash,
               const char *options, struct err *e);
