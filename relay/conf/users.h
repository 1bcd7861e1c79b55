/*
 * The users file: NAME:CRYPT-HASH:key=value,… ; a line each, '#' comments. Edited by the CLI (whole
 * file, rename) or by hand. Readers notice a change by the file's stamp. Hashing (libxcrypt,
 * yescrypt) blocks for tens of milliseconds: never on a loop.
 *
 * Bounds: 64 MiB, a million users; options as their table in users_options.c says.
 */
#pragma once
#include "relay/base/arena.h"
#include "relay/base/err.h"
#include "relay/base/frozen.h"
#include <sys/stat.h>

#define USER_CERTIFICATE_SIZE 32 /* SHA-256 */
#define USER_TAGS_MAX 16

enum user_priority {
    USER_PRIORITY_ANY,
    USER_PRIORITY_HIGH,
    USER_PRIORITY_NORMAL,
    USER_PRIORITY_LOW
};

struct user_rate { /* a bucket: so many recipients a period, so many at once */
    uint64_t recipients, burst;
    int64_t period_ms;
};

/* What SCRAM-SHA-256 asks for (RFC 5802, RFC 7677), base64 but for the number. */
struct user_scram {
    const char *iterations, *salt, *stored_key, *server_key;
};

struct user {
    const char *name, *hash;
    struct user_scram scram; /* iterations NULL: none, or it was made beside another hash */
    const char **from;       /* from=PATTERN: may send as these addresses; none = any */
    size_t n_from;
    const char *rate;        /* as given; "" = none */
    struct user_rate limit;  /* recipients 0: none */
    uint64_t max_size;       /* octets; 0: as the listener */
    unsigned max_recipients; /* 0: as the listener */
    const char *tags;        /* "KEY=VALUE" lines, without the last line end; "" */
    unsigned n_tags;
    enum user_priority priority;
    const char *destination;     /* "": by the recipients' domains */
    const uint8_t *certificates; /* SHA-256 of a certificate or of its public key, one after the
                                    other */
    size_t n_certificates;
    bool disabled;
    unsigned line;
};

struct users { /* frozen */
    struct frozen frozen;
    struct user **list;    /* in the order of the file */
    size_t n, n_scram;     /* n_scram: those whose secret counts */
    struct timespec mtime; /* stamp of what was read */
    struct timespec ctime;
    ino_t inode;
    off_t bytes;
    int fd; /* the file itself, open for as long: what is done to it shows */
    struct users_index *index;
    struct arena arena; /* all but the list and the index */
    uint8_t key[32];    /* the file's, for salts of names that are not in it */
};
/* A missing file is an error; problems of lines go to say as FILE:LINE: message and fail the whole.
 */
struct users *users_load(const char *path, void (*say)(void *ctx, const char *line), void *ctx);
void users_unref(struct users *u);
bool users_changed(const struct users *u, const char *path); /* one stat */
/* Whether the file that was read has been written to since, or another has been put in its place by
 * rename(2), or it has been removed: one fstat, which costs a tenth of that. It does not see that
 * the path leads elsewhere because a folder or a link on the way was replaced. */
bool users_touched(const struct users *u);
const struct user *users_find(const struct users *u, struct slice name);
/* The one user with this certificate or key. */
const struct user *users_find_certificate(const struct users *u,
                                          const uint8_t digest[USER_CERTIFICATE_SIZE]);
/* The password may be used: no '!' or '*' before its hash, as in shadow(5), and not disabled. */
bool user_has_password(const struct user *u);
/* Constant time in the password; blocks. A NULL user costs the same, one without a password too. */
bool users_verify(const struct user *u, struct slice password);
/* "user NAME may use the sender ADDRESS" (envelope, or From: field) */
bool user_may_send_as(const struct user *u, struct slice address);

/* What SCRAM is given for a name: the user's secret, or (u NULL, without a secret, without a
 * password) one that no password fits, always the same for the same name and file. */
struct user_scram_text {
    char iterations[12], salt[32], stored_key[48], server_key[48];
};
void users_scram(const struct users *us, const struct user *u, struct slice name,
                 struct user_scram_text *ret);

/* Names: 1–64 of A-Z a-z 0-9 . _ - @ + */
bool user_name_ok(struct slice name);

/* The table of options, for those who write them. */
struct user_option {
    const char *name;
    enum { USER_OPTION_ONE, USER_OPTION_SEVERAL, USER_OPTION_FLAG } kind;
    const char *needs; /* "an address pattern" */
    bool (*take)(struct user *u, struct slice value, struct arena *a);
};
#define USER_OPTIONS_MAX 11
extern const struct user_option user_options[];
extern const size_t n_user_options;
const struct user_option *user_option_find(struct slice name);
/* Reads "key=value,…" into u; every problem to say, with a few words. False: there was one. */
bool user_options_take(struct user *u, struct slice options, struct arena *a,
                       void (*say)(void *ctx, const char *problem), void *ctx);

/* For the CLI: both secrets of a password. */
struct user_secrets {
    char hash[400];  /* crypt(3), yescrypt */
    char scram[200]; /* SCRAM-SHA-256$…; "" when the password has characters that SASLprep (RFC
                        4013) refuses */
};
int users_hash(struct slice password, struct user_secrets *ret, struct err *e);
/* Adds, changes or removes one line; keeps the rest as it stands; atomic (temporary file, sync,
 * rename); under a lock. What would not be a good file is refused (-EINVAL).
 *   USERS_ADD       secrets and options are the new line's
 *   USERS_PASSWORD  secrets replace the old ones
 *   USERS_SET       options replace those of the same names; those named in `unset` go
 *   USERS_REMOVE    the line goes */
enum users_edit { USERS_ADD, USERS_PASSWORD, USERS_SET, USERS_REMOVE };
struct users_change {
    enum users_edit what;
    const char *name;
    const struct user_secrets *secrets;
    const char *options; /* "key=value,…" or NULL */
    const char *unset;   /* "key,…" or NULL */
};
int users_edit(const char *path, const struct users_change *c, struct err *e);
