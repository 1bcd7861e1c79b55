/*
 * users file = *( [ line ] LF );   line = "#" comment / NAME ":" HASH [ ":" [ option *( "," option
 * ) ] ] option = "from=" PATTERN / "rate=" RATE
 */
#include "relay/conf/users.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/conf/options.h"
#include <crypt.h>
#include <errno.h>
#include <stdio.h>

#define FILE_MAX ((size_t)16 << 20)

struct loading {
    struct users *users;
    struct teller teller;
    unsigned line;
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

static bool printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 127)
            return false;
    return s.n > 0;
}

/* rate = 1*DIGIT "/" ( "s" / "m" / "h" / "d" ) */
static bool rate_ok(struct slice s)
{
    uint64_t number;
    struct slice period = s, count = slice_cut(&period, '/');
    return slice_u64(count, 1000000000, &number) && number > 0 && period.n == 1 &&
           memchr("smhd", period.p[0], 4);
}

static void take_option(struct loading *l, struct user *u, struct slice option)
{
    struct slice value = option, key = slice_cut(&value, '=');
    if (slice_eq(key, SLICE_LIT("from"))) {
        if (!printable(value) || value.n > 320) {
            tell(&l->teller, NULL, l->line, "user %s: from= needs an address pattern", u->name);
            return;
        }
        u->from = must_realloc(u->from, (u->n_from + 1) * sizeof *u->from);
        u->from[u->n_from++] = slice_dup(value);
    } else if (slice_eq(key, SLICE_LIT("rate"))) {
        if (!rate_ok(value) || u->rate)
            tell(&l->teller, NULL, l->line, "user %s: rate= needs one rate such as 100/s or 1000/h",
                 u->name);
        else
            u->rate = slice_dup(value);
    } else {
        tell(&l->teller, NULL, l->line, "user %s: unknown option \"%.*s\"", u->name,
             SLICE_ARG(slice_head(key, 100)));
    }
}

static void take_line(struct loading *l, struct slice line)
{
    struct slice rest = line, name = slice_cut(&rest, ':'), hash = slice_cut(&rest, ':');
    struct users *us = l->users;
    if (!user_name_ok(name)) {
        tell(&l->teller, NULL, l->line,
             "\"%.*s\" is not a user name (1 to 64 of A-Z a-z 0-9 . _ - @ +)",
             SLICE_ARG(slice_head(name, 100)));
        return;
    }
    const struct user *before = users_find(us, name);
    if (before) {
        tell(&l->teller, NULL, l->line, "user %s stands here twice, first in line %u", before->name,
             before->line);
        return;
    }
    if (!hash_ok(hash)) {
        tell(&l->teller, NULL, l->line,
             "user %.*s: the password is not a hash that crypt(3) knows: use `postwain user "
             "password %.*s`",
             SLICE_ARG(name), SLICE_ARG(name));
        return;
    }
    /* Room in powers of two. */
    if ((us->n & (us->n - 1)) == 0)
        us->list = must_realloc(us->list, (us->n ? us->n * 2 : 1) * sizeof *us->list);
    struct user *u = &us->list[us->n++];
    *u = (struct user){.name = slice_dup(name), .hash = slice_dup(hash), .line = l->line};
    while (rest.n)
        take_option(l, u, slice_trim(slice_cut(&rest, ',')));
    if (!u->rate)
        u->rate = slice_dup(SLICE_LIT(""));
}

static void users_free(struct frozen *f)
{
    struct users *us = (struct users *)f;
    for (size_t i = 0; i < us->n; i++) {
        struct user *u = &us->list[i];
        for (size_t k = 0; k < u->n_from; k++)
            defer_free(&u->from[k]);
        defer_free(&u->name);
        defer_free(&u->hash);
        defer_free(&u->rate);
        free(u->from);
    }
    free(us->list);
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
        if (line.n && line.p[0] != '#')
            take_line(l, line);
    }
}

struct users *users_load(const char *path, void (*say)(void *ctx, const char *line), void *ctx)
{
    DEFER(buf_done) struct buf text = BUF_MAX(FILE_MAX);
    struct loading l = {.users = must_alloc(sizeof *l.users),
                        .teller = {.say = say, .ctx = ctx, .path = path}};
    frozen_init(&l.users->frozen, users_free);
    FILE *f = fopen(path, "re");
    struct stat st;
    if (!f || fstat(fileno(f), &st) < 0 || !read_all(f, &text)) {
        tell(&l.teller, NULL, 0, "%s", strerror(errno));
    } else if (text.overflow) {
        tell(&l.teller, NULL, 0, "is larger than %zu bytes", FILE_MAX);
    } else {
        l.users->mtime = st.st_mtim;
        l.users->inode = st.st_ino;
        l.users->bytes = st.st_size;
        take_lines(&l, buf_slice(&text));
    }
    if (f)
        fclose(f);
    if (l.teller.problems == 0)
        return l.users;
    users_unref(l.users);
    return NULL;
}

void users_unref(struct users *u)
{
    if (u)
        frozen_unref(&u->frozen);
}

bool users_changed(const struct users *u, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return true;
    return st.st_ino != u->inode || st.st_size != u->bytes ||
           st.st_mtim.tv_sec != u->mtime.tv_sec || st.st_mtim.tv_nsec != u->mtime.tv_nsec;
}

const struct user *users_find(const struct users *u, struct slice name)
{
    for (size_t i = 0; u && i < u->n; i++)
        if (slice_eq(slice_str(u->list[i].name), name))
            return &u->list[i];
    return NULL;
}

bool user_may_send_as(const struct user *u, struct slice address)
{
    for (size_t i = 0; i < u->n_from; i++)
        if (slice_glob(slice_str(u->from[i]), address))
            return true;
    return u->n_from == 0;
}
