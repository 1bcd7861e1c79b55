#include "relay/cli/pair.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ADDRESS_MAX = 320, TEXT_MAX = 600 };

/* ---- names ---- */

static const char *const suffixes[] = {[PAIR_JSON] = ".json", [PAIR_EML] = ".eml"};

enum pair_part pair_part_of(const char *name, uint64_t *ret_id)
{
    char back[PAIR_NAME_SIZE], text[QUEUE_ID_SIZE];
    uint64_t id;
    if (!queue_id_parse(slice_head(slice_str(name), QUEUE_ID_SIZE - 1), &id))
        return PAIR_NONE;
    queue_id_write(id, text);
    for (enum pair_part part = PAIR_JSON; part <= PAIR_EML; part++) {
        pair_name(back, text, part);
        if (strcmp(back, name) != 0)
            continue;
        *ret_id = id;
        return part;
    }
    return PAIR_NONE;
}

void pair_name(char ret[PAIR_NAME_SIZE], const char *id, enum pair_part part)
{
    snprintf(ret, PAIR_NAME_SIZE, "%.13s%s", id, suffixes[part]);
}

void pair_tmp_name(char ret[PAIR_NAME_SIZE], const char *id, enum pair_part part)
{
    snprintf(ret, PAIR_NAME_SIZE, ".%.13s%s.tmp", id, suffixes[part]);
}

int pair_open(int folder, const char *name, uint64_t *ret_size)
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret_size = (uint64_t)st.st_size;
    return fd;
}

/* ---- the envelope file ---- */

/* What MAIL asked for, and what became of it; the daemon judges them. */
static const char *const asked[] = {"user",         "envid",    "body",      "ret",
                                    "by",           "by_trace", "deadline",  "release",
                                    "smtputf8",     "priority", "tags",      "requiretls",
                                    "tls_optional", "route",    "delay_told"};
enum { N_ASKED = sizeof asked / sizeof *asked };

json_t *pair_make(const json_t *envelope, const json_t *recipients)
{
    json_t *file = json_object();
    MUST(file && json_object_set_new(file, "v", json_integer(PAIR_VERSION)) == 0);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)envelope, key, value)
        MUST(json_object_set(file, key, value) == 0);
    MUST(json_object_set_new(file, "recipients", json_copy((json_t *)(uintptr_t)recipients)) == 0);
    return file;
}

static bool is_text(const json_t *object, const char *key, size_t max, bool needed)
{
    const json_t *v = json_object_get(object, key);
    return v ? json_is_string(v) && json_string_length(v) <= max : !needed;
}

static const char *wrong_recipients(const json_t *list)
{
    const json_t *one;
    size_t i;
    if (json_array_size(list) == 0)
        return "recipients is not a list that names some";
    json_array_foreach(list, i, one)
    {
        if (!is_text(one, "recipient", ADDRESS_MAX, true) ||
            !is_text(one, "orcpt", TEXT_MAX, false) || !is_text(one, "notify", TEXT_MAX, false))
            return "a recipient is not of the form {\"recipient\": ADDRESS, …}";
    }
    return NULL;
}

static const char *wrong(const json_t *file, const char *id)
{
    struct wall t;
    const json_t *size = json_object_get(file, "size");
    if (strcmp(json_text(file, "queue_id"), id) != 0)
        return "queue_id is not the one of its name";
    if (!is_text(file, "sender", ADDRESS_MAX, true))
        return "sender is not an address or \"\"";
    if (!is_text(file, "user", TEXT_MAX, false) || !is_text(file, "envid", TEXT_MAX, false))
        return "user or envid is not a short text";
    if (!json_is_integer(size) || json_integer_value(size) <= 0)
        return "size is not a number of octets";
    if (!show_parse_time(json_text(file, "expires"), &t))
        return "expires is not a time such as 2026-01-02T03:04:05Z";
    return wrong_recipients(json_object_get(file, "recipients"));
}

static bool judge(const json_t *file, const char *id, char problem[PAIR_PROBLEM_SIZE])
{
    const json_t *v = json_object_get(file, "v");
    const char *why = NULL;
    if (!json_is_object(file) || !json_is_integer(v))
        why = "is no envelope: v is missing";
    else if (json_integer_value(v) != PAIR_VERSION)
        why = "is of another version; this program knows version 1";
    else
        why = wrong(file, id);
    if (why)
        snprintf(problem, PAIR_PROBLEM_SIZE, "%s.json: %s", id, why);
    return !why;
}

static bool read_all(int fd, char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = read(fd, text + at, n - at);
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static json_t *read_json(int fd, const char *id, uint64_t size, char problem[PAIR_PROBLEM_SIZE])
{
    json_error_t why;
    char *text = size <= PAIR_JSON_MAX ? malloc(size + 1) : NULL;
    json_t *file = NULL;
    if (!text)
        snprintf(problem, PAIR_PROBLEM_SIZE, "%s.json: is larger than 64 MiB", id);
    else if (!read_all(fd, text, size))
        snprintf(problem, PAIR_PROBLEM_SIZE, "%s.json: cannot be read", id);
    else if (!(file = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why)))
        snprintf(problem, PAIR_PROBLEM_SIZE, "%s.json:%d: %.100s", id, why.line, why.text);
    free(text);
    return file;
}

json_t *pair_load(int folder, const char *id, char ret_problem[PAIR_PROBLEM_SIZE])
{
    char name[PAIR_NAME_SIZE];
    uint64_t size;
    pair_name(name, id, PAIR_JSON);
    int fd = pair_open(folder, name, &size);
    if (fd < 0) {
        snprintf(ret_problem, PAIR_PROBLEM_SIZE, "%s: %s", name,
                 fd == -EINVAL || fd == -ELOOP ? "is not a file" : strerror(-fd));
        return NULL;
    }
    json_t *file = read_json(fd, id, size, ret_problem);
    close(fd);
    if (file && judge(file, id, ret_problem))
        return file;
    json_decref(file);
    return NULL;
}

static bool same_key(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x == y || json_equal(x, y);
}

bool pair_same(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"v", "queue_id", "sender", "size", "expires"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!same_key(a, b, keys[i]))
            return false;
    for (size_t i = 0; i < N_ASKED; i++)
        if (!same_key(a, b, asked[i]))
            return false;
    const json_t *x = json_object_get(a, "recipients"), *y = json_object_get(b, "recipients");
    if (json_array_size(x) != json_array_size(y))
        return false;
    for (size_t i = 0; i < json_array_size(x); i++) {
        const json_t *r = json_array_get(x, i), *s = json_array_get(y, i);
        if (!same_key(r, s, "recipient") || !same_key(r, s, "orcpt") || !same_key(r, s, "notify"))
            return false;
    }
    return true;
}

json_t *pair_begin(const json_t *file, struct wall now, bool hold)
{
    struct wall expires = {0};
    MUST(show_parse_time(json_text(file, "expires"), &expires));
    /* One whose time is over has its last attempt, and then goes back. */
    const int64_t left = (expires.us - now.us) / WALL_SECOND;
    json_t *args =
        json_pack("{s:s, s:s, s:I, s:I, s:b}", "sender", json_text(file, "sender"), "was",
                  json_text(file, "queue_id"), "size", (json_int_t)json_number(file, "size"),
                  "expires_s", (json_int_t)(left > 1 ? left : 1), "hold", (int)hold);
    MUST(args);
    for (size_t i = 0; i < N_ASKED; i++) {
        json_t *value = json_object_get(file, asked[i]);
        const bool empty = json_is_string(value) && json_string_length(value) == 0;
        if (value && !empty)
            json_object_set(args, asked[i], value);
    }
    return args;
}
