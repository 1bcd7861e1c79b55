/* `user list`: who may log in, how, and what each may do. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include "relay/conf/users.h"

#define CELL_MAX 8000

static const char *const priorities[] = {"", "high", "normal", "low"};

/* One more of a list in a cell. */
static void add(struct buf *cell, const char *text)
{
    buf_addf(cell, "%s%s", cell->n ? ", " : "", text);
}

static void add_pair(struct buf *cell, const char *key, const char *value)
{
    if (value[0])
        buf_addf(cell, "%s%s=%s", cell->n ? ", " : "", key, value);
}

static void add_number(struct buf *cell, const char *key, uint64_t n)
{
    if (n)
        buf_addf(cell, "%s%s=%llu", cell->n ? ", " : "", key, (unsigned long long)n);
}

static void show_login(const struct user *u, struct buf *cell)
{
    if (u->disabled) {
        add(cell, "disabled");
        return;
    }
    if (user_has_password(u))
        add(cell, "password");
    if (user_has_password(u) && u->scram.iterations)
        add(cell, "scram");
    if (u->n_certificates)
        add(cell, "certificate");
    if (!cell->n)
        add(cell, "locked");
}

static void show_more(const struct user *u, struct buf *cell)
{
    struct slice tags = slice_str(u->tags);
    char size[SHOW_SIZE];
    if (u->limit.burst != u->limit.recipients)
        add_number(cell, "burst", u->limit.burst);
    if (u->max_size)
        add_pair(cell, "max-size", show_bytes(size, (int64_t)u->max_size));
    add_number(cell, "max-recipients", u->max_recipients);
    add_pair(cell, "priority", priorities[u->priority]);
    add_pair(cell, "destination", u->destination);
    while (tags.n)
        buf_addf(cell, "%s%.*s", cell->n ? ", " : "", SLICE_ARG(slice_cut(&tags, '\n')));
}

static void list_one(const struct user *u, struct table *t)
{
    DEFER(buf_done) struct buf from = BUF_MAX(CELL_MAX), more = BUF_MAX(CELL_MAX);
    DEFER(buf_done) struct buf login = BUF_MAX(100);
    for (size_t i = 0; i < u->n_from; i++)
        add(&from, u->from[i]);
    show_more(u, &more);
    show_login(u, &login);
    const char *const cells[] = {u->name, buf_str(&login), u->n_from ? buf_str(&from) : "any",
                                 u->rate, buf_str(&more)};
    table_row(t, cells);
}

static void put(json_t *row, const char *key, json_t *value)
{
    MUST(value && json_object_set_new(row, key, value) == 0);
}

static json_t *json_of(struct slice s)
{
    return json_stringn((const char *)s.p, s.n);
}

static json_t *tags_of(const struct user *u)
{
    json_t *o = json_object();
    struct slice tags = slice_str(u->tags);
    while (tags.n) {
        struct slice value = slice_cut(&tags, '\n'), key = slice_cut(&value, '=');
        DEFER_FREE char *name = slice_dup(key);
        put(o, name, json_of(value));
    }
    return o;
}

static json_t *certificates_of(const struct user *u)
{
    json_t *list = json_array();
    for (size_t i = 0; i < u->n_certificates; i++) {
        char hex[USER_CERTIFICATE_SIZE * 2 + 1];
        for (size_t k = 0; k < USER_CERTIFICATE_SIZE; k++)
            snprintf(hex + k * 2, 3, "%02x", u->certificates[i * USER_CERTIFICATE_SIZE + k]);
        json_array_append_new(list, json_string(hex));
    }
    return list;
}

static json_t *from_of(const struct user *u)
{
    json_t *list = json_array();
    for (size_t i = 0; i < u->n_from; i++)
        json_array_append_new(list, json_string(u->from[i]));
    return list;
}

static void put_limits(json_t *row, const struct user *u)
{
    if (u->rate[0]) {
        put(row, "rate", json_integer((json_int_t)u->limit.recipients));
        put(row, "rate_seconds", json_integer((json_int_t)(u->limit.period_ms / 1000)));
        put(row, "burst", json_integer((json_int_t)u->limit.burst));
    }
    if (u->max_size)
        put(row, "max_size", json_integer((json_int_t)u->max_size));
    if (u->max_recipients)
        put(row, "max_recipients", json_integer(u->max_recipients));
}

static void list_one_json(const struct user *u)
{
    json_t *row = json_object();
    put(row, "user", json_string(u->name));
    put(row, "locked", json_boolean(u->hash[0] == '!' || u->hash[0] == '*'));
    put(row, "disabled", json_boolean(u->disabled));
    put(row, "scram", json_boolean(u->scram.iterations != NULL));
    if (u->n_from)
        put(row, "from", from_of(u));
    put_limits(row, u);
    if (u->n_tags)
        put(row, "tags", tags_of(u));
    if (u->priority)
        put(row, "rank", json_string(priorities[u->priority]));
    if (u->destination[0])
        put(row, "destination", json_string(u->destination));
    if (u->n_certificates)
        put(row, "certificates", certificates_of(u));
    print_json_line(NULL, row);
    json_decref(row);
}

static void list_all(const struct users *us)
{
    static const struct table_column columns[] = {{"USER", false, false},
                                                  {"LOGIN", false, false},
                                                  {"FROM", false, true},
                                                  {"RATE", false, false},
                                                  {"MORE", false, true}};
    struct table *t = table_new(columns, sizeof columns / sizeof *columns, term_width());
    for (size_t i = 0; i < us->n; i++)
        list_one(us->list[i], t);
    table_free(t);
}

int user_list(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "user list takes no arguments");
    struct conf *c = user_conf(&a, &rc);
    if (!c)
        return rc;
    struct users *us = user_load(c, &rc);
    if (us && !a.json && us->n)
        list_all(us);
    for (size_t i = 0; us && a.json && i < us->n; i++)
        list_one_json(us->list[i]);
    if (us && us->n == 0)
        fputs("nobody may log in yet: postwain user add NAME\n", stderr);
    if (us)
        rc = us->n ? CLI_DONE : CLI_NOTHING;
    users_unref(us);
    conf_unref(c);
    return rc;
}
