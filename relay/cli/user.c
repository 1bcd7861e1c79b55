/* `user`: the life of a credential. Works on the users file; the daemon sees the change by its
 * stamp. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/cli/private.h"
#include "relay/conf/users.h"
#include <crypt.h>
#include <errno.h>
#include <unistd.h>

#define PASSWORD_LENGTH 24
#define PASSWORD_SIZE 600

static const struct cli_option add_options[] = {
    {"from", 0, true}, {"rate", 0, true}, {"password-stdin", 0, false}, {0}};
static const struct cli_option password_options[] = {{"password-stdin", 0, false}, {0}};

static int user_help(const struct cli_verb *v, int argc, char **argv);
static int user_add(const struct cli_verb *v, int argc, char **argv);
static int user_list(const struct cli_verb *v, int argc, char **argv);
static int user_remove(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb group = {
    "user", "", user_help, NULL,
    "usage: postwain user add|list|remove|password …\n"
    "\n"
    "  add NAME        add a login, print its password once and what to paste into an application\n"
    "  list            who may log in\n"
    "  password NAME   a new password\n"
    "  remove NAME     no more\n"
    "\n"
    "A change is live at once, without a reload.\n"
    "\n"
    "examples:\n"
    "  postwain user add shop --from '*@shop.example.com'\n"
    "  postwain user list\n"};

static const struct cli_verb verbs[] = {
    {"user add", "", user_add, add_options,
     "usage: postwain user add NAME [--from PATTERN]... [--rate N/PERIOD] [--password-stdin]\n"
     "\n"
     "  --from PATTERN     may only send as addresses like this, in MAIL and in From (repeat;\n"
     "                     default: any)\n"
     "  --rate N/PERIOD    such as 100/s, 1000/h; kept and shown, not enforced yet\n"
     "  --password-stdin   take the password from standard input instead of making one\n"
     "\n"
     "examples:\n"
     "  postwain user add shop\n"
     "  postwain user add shop --from '*@shop.example.com' --from owner@example.com\n"
     "  pass show shop | postwain user add shop --password-stdin\n"},
    {"user list", "", user_list, NULL,
     "usage: postwain user list [--json]\n\nexample:\n  postwain user list --json | jq -r .user\n"},
    {"user remove", "", user_remove, NULL,
     "usage: postwain user remove NAME\n\nexample:\n  postwain user remove shop\n"},
    {"user password", "", user_add, password_options,
     "usage: postwain user password NAME [--password-stdin]\n"
     "\n"
     "Makes a new password (or takes one from standard input) and prints it once. The old one is\n"
     "no longer taken.\n"
     "\n"
     "example:\n"
     "  postwain user password shop\n"},
};

int verb_user(const struct cli_verb *v, int argc, char **argv)
{
    (void)v;
    return args_dispatch("user", verbs, sizeof verbs / sizeof *verbs, &group, argc, argv);
}

static int user_help(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    return rc == ARGS_GO_ON ? args_wrong(&a, "say what to do: add, list, remove or password") : rc;
}

/* The configuration, when it has a users file; NULL: told. */
static struct conf *with_users(const struct cli_args *a, int *ret_exit)
{
    struct conf *c = cli_conf(a, ret_exit);
    if (!c || c->users_file[0])
        return c;
    *ret_exit =
        cli_fail(CLI_NOTHING, "%s names no users file: add users { file = \"users\" }", c->path);
    conf_unref(c);
    return NULL;
}

/* 24 of 57 letters and digits that cannot be mistaken for each other: 139 bits. */
static void make_password(char ret[PASSWORD_SIZE])
{
    static const char letters[] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    for (size_t n = 0; n < PASSWORD_LENGTH;) {
        uint8_t byte;
        rand_bytes(&byte, 1);
        if (byte < 256 / (sizeof letters - 1) * (sizeof letters - 1)) /* each as likely */
            ret[n++] = letters[byte % (sizeof letters - 1)];
    }
    ret[PASSWORD_LENGTH] = 0;
}

static int read_password(char ret[PASSWORD_SIZE])
{
    if (isatty(STDIN_FILENO))
        fputs("password: ", stderr);
    if (!fgets(ret, PASSWORD_SIZE, stdin))
        return cli_fail(CLI_USAGE, "there is no password on standard input");
    ret[strcspn(ret, "\r\n")] = 0;
    return ret[0] ? ARGS_GO_ON : cli_fail(CLI_USAGE, "the password is empty");
}

static const char *port_of(const struct conf_listener *l)
{
    const char *colon = strrchr(l->address.items[0], ':');
    return colon ? colon + 1 : "";
}

static void print_settings(const struct conf *c, const char *name, const char *password)
{
    static const char *const words[] = {"no encryption", "STARTTLS", "TLS"};
    printf("\nSMTP settings for the application:\n"
           "  host      %s\n",
           c->hostname);
    for (size_t i = 0; i < c->n_listeners; i++)
        if (c->listeners[i].auth != CONF_AUTH_NONE && c->listeners[i].tls != CONF_TLS_NONE)
            printf("  port      %s (%s)\n", port_of(&c->listeners[i]), words[c->listeners[i].tls]);
    printf("  user      %s\n  password  %s\n", name, password ? password : "(the one you gave)");
    if (password)
        puts("\nThe password is shown only now: it is kept as a hash.");
}

static void print_added(const struct cli_args *a, const struct conf *c, const char *password)
{
    const char *name = a->words[0];
    const bool is_new = strcmp(a->verb->name, "user add") == 0;
    if (a->json) {
        json_t *row = json_pack("{s:s}", "user", name);
        if (password)
            json_object_set_new(row, "password", json_string(password));
        print_json_line(NULL, row);
        json_decref(row);
        return;
    }
    printf("%s %s.\n", is_new ? "Added" : "Changed the password of", name);
    print_settings(c, name, password);
}

/* --from and --rate as the users file has them; false: told. */
static int options_of(const struct cli_args *a, struct buf *out)
{
    for (size_t i = 0; i < a->n; i++) {
        const bool from = strcmp(a->names[i], "from") == 0;
        const char *value = a->values[i];
        if (!from && strcmp(a->names[i], "rate") != 0)
            continue;
        if (!value[0] || strpbrk(value, ",: \t\r\n") || strlen(value) > 320)
            return args_wrong(a, "--%s: \"%s\" holds what cannot stand there", a->names[i], value);
        if (from && !strchr(value, '@') && !strchr(value, '*'))
            return args_wrong(a, "--from: %s matches no address: write *@%s", value, value);
        buf_addf(out, "%s%s=%s", out->n ? "," : "", a->names[i], value);
    }
    return out->overflow ? args_wrong(a, "there are too many options") : ARGS_GO_ON;
}

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

/* NULL: told. */
static struct users *load_users(const struct conf *c, int *ret_exit)
{
    if (access(c->users_file, R_OK) < 0) {
        *ret_exit = cli_exit_of(errno);
        cli_fail(*ret_exit, "%s: %s%s", c->users_file, strerror(errno),
                 *ret_exit == CLI_DENIED ? ": become root, or the owner of this file"
                                         : ": make an empty one, with mode 640");
        return NULL;
    }
    struct users *us = users_load(c->users_file, say_problem, NULL);
    if (!us)
        *ret_exit = cli_fail(CLI_NOTHING, "correct %s first", c->users_file);
    return us;
}

/* The file as the daemon will read it: a line that it would refuse must not get in. */
static int edit(const struct cli_args *a, const struct conf *c, enum users_edit what,
                const char *hash, const char *options)
{
    struct err e;
    int rc;
    struct users *before = load_users(c, &rc);
    if (!before)
        return rc;
    users_unref(before);
    rc = users_edit(c->users_file, what, a->words[0], hash, options, &e);
    if (rc == 0)
        return CLI_DONE;
    return cli_fail(rc == -EINVAL ? CLI_USAGE : cli_exit_of(rc), "%s", e.text);
}

static int set_password(const struct cli_args *a, const struct conf *c, const char *options,
                        const char *password, bool is_given)
{
    char hash[CRYPT_OUTPUT_SIZE];
    struct err e;
    const bool is_new = strcmp(a->verb->name, "user add") == 0;
    if (users_hash(slice_str(password), hash, sizeof hash, &e) < 0)
        return cli_fail(CLI_USAGE, "%s", e.text);
    int rc = edit(a, c, is_new ? USERS_ADD : USERS_PASSWORD, hash, options);
    if (rc == CLI_DONE)
        print_added(a, c, is_given ? NULL : password);
    return rc;
}

static int one_name(const struct cli_args *a)
{
    if (a->n_words != 1)
        return args_wrong(a, "name one user");
    if (!user_name_ok(slice_str(a->words[0])))
        return args_wrong(a, "%s is not a user name: 1 to 64 of A-Z a-z 0-9 . _ - @ +",
                          a->words[0]);
    return ARGS_GO_ON;
}

static bool rate_ok(const char *text)
{
    struct slice period = slice_str(text), count = slice_cut(&period, '/');
    uint64_t n;
    return slice_u64(count, 1000000000, &n) && n > 0 && period.n == 1 &&
           memchr("smhd", period.p[0], 4);
}

/* `user add` and `user password`: they differ in whether the user may be there already. */
static int user_add(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    char password[PASSWORD_SIZE];
    DEFER(buf_done) struct buf options = BUF_MAX(4000);
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON || (rc = one_name(&a)) != ARGS_GO_ON)
        return rc;
    if (args_value(&a, "rate") && !rate_ok(args_value(&a, "rate")))
        return args_wrong(&a, "--rate: %s is not a rate such as 100/s or 1000/h",
                          args_value(&a, "rate"));
    if ((rc = options_of(&a, &options)) != ARGS_GO_ON)
        return rc;
    const bool is_given = args_value(&a, "password-stdin");
    struct conf *c = with_users(&a, &rc);
    if (!c)
        return rc;
    rc = ARGS_GO_ON;
    if (is_given)
        rc = read_password(password);
    else
        make_password(password);
    if (rc == ARGS_GO_ON)
        rc = set_password(&a, c, buf_str(&options), password, is_given);
    explicit_bzero(password, sizeof password);
    conf_unref(c);
    return rc;
}

static int user_remove(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON || (rc = one_name(&a)) != ARGS_GO_ON)
        return rc;
    struct conf *c = with_users(&a, &rc);
    if (!c)
        return rc;
    rc = edit(&a, c, USERS_REMOVE, NULL, NULL);
    conf_unref(c);
    if (rc == CLI_DONE)
        printf("Removed %s.\n", a.words[0]);
    return rc;
}

static void list_one(const struct user *u, struct table *t)
{
    DEFER(buf_done) struct buf from = BUF_MAX(4000);
    for (size_t i = 0; i < u->n_from; i++)
        buf_addf(&from, "%s%s", i ? ", " : "", u->from[i]);
    const bool locked = u->hash[0] == '!' || u->hash[0] == '*';
    const char *const cells[] = {u->name, u->n_from ? buf_str(&from) : "any", u->rate,
                                 locked ? "locked" : "ok"};
    table_row(t, cells);
}

static void list_one_json(const struct user *u)
{
    json_t *row =
        json_pack("{s:s, s:b}", "user", u->name, "locked", u->hash[0] == '!' || u->hash[0] == '*');
    MUST(row);
    if (u->n_from) {
        json_t *from = json_array();
        for (size_t i = 0; i < u->n_from; i++)
            json_array_append_new(from, json_string(u->from[i]));
        json_object_set_new(row, "from", from);
    }
    if (u->rate[0])
        json_object_set_new(row, "rate", json_string(u->rate));
    print_json_line(NULL, row);
    json_decref(row);
}

static int user_list(const struct cli_verb *v, int argc, char **argv)
{
    static const struct table_column columns[] = {{"USER", false, false},
                                                  {"FROM", false, true},
                                                  {"RATE", false, false},
                                                  {"STATE", false, false}};
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "user list takes no arguments");
    struct conf *c = with_users(&a, &rc);
    if (!c)
        return rc;
    struct users *us = load_users(c, &rc);
    if (us && !a.json && us->n) {
        struct table *t = table_new(columns, 4, term_width());
        for (size_t i = 0; i < us->n; i++)
            list_one(&us->list[i], t);
        table_free(t);
    }
    for (size_t i = 0; us && a.json && i < us->n; i++)
        list_one_json(&us->list[i]);
    if (us && us->n == 0)
        fputs("nobody may log in yet: postwain user add NAME\n", stderr);
    if (us)
        rc = us->n ? CLI_DONE : CLI_NOTHING;
    users_unref(us);
    conf_unref(c);
    return rc;
}
