/*
 * users file = *( [ line ] LF );   line = "#" comment / NAME ":" HASH [ ":" options ] / ":key:"
 * base64(32 octets)
 *
 * Options are users_options.c's. The line that begins with ":key:" is nobody's: it keeps the
 * answers to names that are not here the same from one day to the other (users_scram).
 */
#include "relay/base/base64.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/conf/options.h"
#include "relay/conf/users_private.h"
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>
/* Names are told by clients, keyed all the same. */
#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>

#define USERS_MAX 1000000
#define ARENA_MAX ((size_t)4 << 30)

struct by_name {
    struct user user; /* first */
    UT_hash_handle hh;
};

struct by_certificate {
    const uint8_t *digest;
    const struct user *user;
    UT_hash_handle hh;
};

struct users_index {
    struct by_name *names;
    struct by_certificate *certificates;
};

struct loading {
    struct users *users;
    struct teller teller;
    unsigned line;
    bool has_key;
};

bool user_name_ok(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = byte_lower(name.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !memchr("._-@+", c, 5))
            return false;
    }
    return name.n >= 1 && name.n <= 64;
}

static bool is_locked(const char *hash)
{
    return hash[0] == '*' || hash[0] == '!';
}

bool user_has_password(const struct user *u)
{
    return u && !u->disabled && !is_locked(u->hash);
}

/* "*" and "!" lock an account, as in shadow(5). */
static bool hash_ok(struct slice hash)
{
    if (hash.n && (hash.p[0] == '*' || hash.p[0] == '!'))
        return true;
    if (hash.n < 13 || hash.n >= CRYPT_OUTPUT_SIZE)
        return false;
    DEFER_FREE char *text = slice_dup(hash);
    int known = crypt_checksalt(text);
    return known == CRYPT_SALT_OK || known == CRYPT_SALT_METHOD_LEGACY ||
           known == CRYPT_SALT_TOO_CHEAP;
}

static const char *keep(struct loading *l, struct slice s)
{
    struct slice kept = arena_dup(&l->users->arena, s);
    MUST(kept.p);
    return (const char *)kept.p;
}

static void take_key(struct loading *l, struct slice line)
{
    DEFER(buf_done) struct buf key = BUF_MAX(64);
    if (l->has_key || !base64_decode(&key, slice_skip(line, sizeof USERS_KEY_START - 1)) ||
        key.n != sizeof l->users->key) {
        tell(&l->teller, NULL, l->line,
             USERS_KEY_START " needs 32 octets in base64, once: remove the line, it is made anew");
        return;
    }
    memcpy(l->users->key, key.p, key.n);
    l->has_key = true;
}

/* False: told. */
static bool name_and_hash_ok(struct loading *l, struct slice name, struct slice hash)
{
    if (!user_name_ok(name)) {
        tell(&l->teller, NULL, l->line,
             "\"%.*s\" is not a user name (1 to 64 of A-Z a-z 0-9 . _ - @ +)",
             SLICE_ARG(slice_head(name, 100)));
        return false;
    }
    const struct user *before = users_find(l->users, name);
    if (before)
        tell(&l->teller, NULL, l->line, "user %s stands here twice, first in line %u", before->name,
             before->line);
    else if (!hash_ok(hash))
        tell(&l->teller, NULL, l->line,
             "user %.*s: the password is not a hash that crypt(3) knows: use `postwain user "
             "password %.*s`",
             SLICE_ARG(name), SLICE_ARG(name));
    else if (l->users->n == USERS_MAX)
        tell(&l->teller, NULL, l->line, "there are more than %d users", USERS_MAX);
    else
        return true;
    return false;
}

static struct user *add_user(struct loading *l, struct slice name, struct slice hash)
{
    struct users *us = l->users;
    struct by_name *node = arena_alloc(&us->arena, sizeof *node);
    MUST(node);
    /* Room in powers of two. */
    if ((us->n & (us->n - 1)) == 0)
        us->list = must_realloc(us->list, (us->n ? us->n * 2 : 1) * sizeof *us->list);
    us->list[us->n++] = &node->user;
    node->user.name = keep(l, name);
    node->user.hash = keep(l, hash);
    node->user.line = l->line;
    HASH_ADD_KEYPTR(hh, us->index->names, node->user.name, name.n, node);
    return &node->user;
}

static void index_certificates(struct loading *l, struct user *u)
{
    struct users *us = l->users;
    for (size_t i = 0; i < u->n_certificates; i++) {
        const uint8_t *digest = u->certificates + i * USER_CERTIFICATE_SIZE;
        const struct user *other = users_find_certificate(us, digest);
        if (other) {
            tell(&l->teller, NULL, l->line, "user %s: certificate= is the one of %s in line %u",
                 u->name, other->name, other->line);
            continue;
        }
        struct by_certificate *node = arena_alloc(&us->arena, sizeof *node);
        MUST(node);
        node->digest = digest;
        node->user = u;
        HASH_ADD_KEYPTR(hh, us->index->certificates, node->digest, USER_CERTIFICATE_SIZE, node);
    }
}

struct complaint {
    struct loading *loading;
    const struct user *user;
};

static void complain(void *ctx, const char *problem)
{
    struct complaint *c = ctx;
    tell(&c->loading->teller, NULL, c->loading->line, "user %s: %s", c->user->name, problem);
}

static void take_line(struct loading *l, struct slice line)
{
    struct slice rest = line, name = slice_cut(&rest, ':'), hash = slice_cut(&rest, ':');
    if (!name_and_hash_ok(l, name, hash))
        return;
    struct user *u = add_user(l, name, hash);
    struct complaint c = {l, u};
    user_options_take(u, rest, &l->users->arena, complain, &c);
    index_certificates(l, u);
    if (!u->rate)
        u->rate = "";
    if (!u->tags)
        u->tags = "";
    if (!u->destination)
        u->destination = "";
    if (u->scram.iterations && !scram_is_of(&u->scram, u->hash))
        u->scram = (struct user_scram){0};
    l->users->n_scram += u->scram.iterations != NULL;
}

static void users_free(struct frozen *f)
{
    struct users *us = (struct users *)f;
    HASH_CLEAR(hh, us->index->names);
    HASH_CLEAR(hh, us->index->certificates);
    free(us->index);
    arena_done(&us->arena);
    free(us->list);
    if (us->fd >= 0)
        close(us->fd);
    explicit_bzero(us->key, sizeof us->key);
    free(us);
}

static bool read_all(FILE *f, struct buf *text)
{
    uint8_t *room;
    size_t n = 1;
    while (n > 0 && (room = buf_reserve(text, 4096))) {
        n = fread(room, 1, 4096, f);
        buf_commit(text, n);
    }
    return !ferror(f);
}

static void take_lines(struct loading *l, struct slice text)
{
    while (text.n) {
        struct slice line = slice_trim(slice_cut(&text, '\n'));
        l->line++;
        if (slice_starts(line, SLICE_LIT(USERS_KEY_START)))
            take_key(l, line);
        else if (line.n && line.p[0] != '#')
            take_line(l, line);
    }
}

static void take_text(struct loading *l, struct slice text)
{
    take_lines(l, text);
    /* The whole file is a secret, too; it changes more often. */
    if (!l->has_key)
        MUST(EVP_Digest(text.p ? text.p : (const uint8_t *)"", text.n, l->users->key, NULL,
                        EVP_sha256(), NULL));
}

static struct users *users_new(void)
{
    struct users *us = must_alloc(sizeof *us);
    us->index = must_alloc(sizeof *us->index);
    us->fd = -1;
    arena_init(&us->arena, ARENA_MAX);
    frozen_init(&us->frozen, users_free);
    return us;
}

struct users *users_load(const char *path, void (*say)(void *ctx, const char *line), void *ctx)
{
    DEFER(buf_done) struct buf text = BUF_MAX(USERS_FILE_MAX);
    struct loading l = {.users = users_new(), .teller = {.say = say, .ctx = ctx, .path = path}};
    FILE *f = fopen(path, "re");
    struct stat st;
    if (!f || fstat(fileno(f), &st) < 0 || !read_all(f, &text)) {
        tell(&l.teller, NULL, 0, "%s", strerror(errno));
    } else if (text.overflow) {
        tell(&l.teller, NULL, 0, "is larger than %zu bytes", USERS_FILE_MAX);
    } else {
        l.users->fd =
            fcntl(fileno(f), F_DUPFD_CLOEXEC, 0); /* -1: as if it were touched each time */
        l.users->mtime = st.st_mtim;
        l.users->ctime = st.st_ctim;
        l.users->inode = st.st_ino;
        l.users->bytes = st.st_size;
        take_text(&l, buf_slice(&text));
    }
    if (f)
        fclose(f);
    if (l.teller.problems == 0)
        return l.users;
    users_unref(l.users);
    return NULL;
}

struct first_problem {
    struct err *e;
    bool there;
};

static void keep_first(void *ctx, const char *line)
{
    struct first_problem *p = ctx;
    if (!p->there)
        err_set(p->e, -EINVAL, "%s", line);
    p->there = true;
}

int users_text_check(struct slice text, const char *path, struct err *e)
{
    struct first_problem first = {.e = e};
    struct loading l = {.users = users_new(),
                        .teller = {.say = keep_first, .ctx = &first, .path = path}};
    take_text(&l, text);
    users_unref(l.users);
    return first.there ? -EINVAL : 0;
}

void users_unref(struct users *u)
{
    if (u)
        frozen_unref(&u->frozen);
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_as_read(const struct users *u, const struct stat *st)
{
    return st->st_ino == u->inode && st->st_size == u->bytes && is_same_time(st->st_mtim, u->mtime);
}

bool users_changed(const struct users *u, const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 || !is_as_read(u, &st);
}

/* Whoever replaces or removes a file takes a link from it, which is a change of its ctime. */
bool users_touched(const struct users *u)
{
    struct stat st;
    return fstat(u->fd, &st) < 0 || !is_as_read(u, &st) || st.st_nlink == 0 ||
           !is_same_time(st.st_ctim, u->ctime);
}

const struct user *users_find(const struct users *u, struct slice name)
{
    struct by_name *node = NULL;
    if (u && name.n)
        HASH_FIND(hh, u->index->names, name.p, name.n, node);
    return node ? &node->user : NULL;
}

const struct user *users_find_certificate(const struct users *u,
                                          const uint8_t digest[USER_CERTIFICATE_SIZE])
{
    struct by_certificate *node = NULL;
    if (u)
        HASH_FIND(hh, u->index->certificates, digest, USER_CERTIFICATE_SIZE, node);
    return node ? node->user : NULL;
}

bool user_may_send_as(const struct user *u, struct slice address)
{
    for (size_t i = 0; i < u->n_from; i++)
        if (slice_glob(slice_str(u->from[i]), address))
            return true;
    return u->n_from == 0;
}
