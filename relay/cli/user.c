/* `user`: the life of a credential. Works on the users file; the daemon sees the change by its
 * stamp. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/cli/private.h"
#include "relay/conf/users.h"
#include <errno.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_LENGTH 24
#define PASSWORD_SIZE 600
#define OPTIONS_BYTES_MAX 16000

#define USER_OPTIONS                                                                               \
    {"from", 0, true}, {"rate", 0, true}, {"burst", 0, true}, {"max-size", 0, true},               \
        {"max-recipients", 0, true}, {"tag", 0, true}, {"priority", 0, true},                      \
        {"destination", 0, true}, {"certificate", 0, true},                                        \
    {                                                                                              \
        "disabled", 0, false                                                                       \
    }
static const struct cli_option add_options[] = {USER_OPTIONS, {"password-stdin", 0, false}, {0}};
static const struct cli_option set_options[] = {
    USER_OPTIONS, {"enabled", 0, false}, {"unset", 0, true}, {0}};
static const struct cli_option password_options[] = {{"password-stdin", 0, false}, {0}};

static int user_add(const struct cli_verb *v, int argc, char **argv);
static int user_set(const struct cli_verb *v, int argc, char **argv);
static int user_remove(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb group = {
    "user", "", NULL, NULL,
    "usage: postwain user add|set|list|remove|password …\n"
    "\n"
    "  add NAME        add a login, print its password once and what to paste into an application\n"
    "  set NAME        change what a login may do\n"
    "  list            who may log in, and what each may do\n"
    "  password NAME   a new password\n"
    "  remove NAME     no more\n"
    "\n"
    "A change is live at once, without a reload.\n"
    "\n"
    "examples:\n"
    "  postwain user add shop --from '*@shop.example.com' --rate 1000/h\n"
    "  postwain user set shop --rate 5000/h --burst 500\n"
    "  postwain user list\n"};

static const struct cli_verb verbs[] = {
    {"user add", "", user_add, add_options,
     "usage: postwain user add NAME [OPTION]...\n"
     "\n"
     "  --from PATTERN         may only send as such addresses, in MAIL and From (repeat)\n"
     "  --rate N/PERIOD        recipients: 100/s, 1000/h, 50/10m\n"
     "  --burst N              as many of them at once (default: N of the rate)\n"
     "  --max-size SIZE        of a message, such as 10M; --max-recipients N of a message\n"
     "  --tag KEY=VALUE        stands in each event of the delivery log (repeat)\n"
     "  --priority CLASS       high, normal or low\n"
     "  --destination NAME     all mail goes there, whatever the recipients' domains are\n"
     "  --certificate SHA-256  may log in with this client certificate or key (repeat)\n"
     "  --disabled             may not log in\n"
     "  --password-stdin       take the password from standard input instead of making one\n"
     "\n"
     "examples:\n"
     "  postwain user add shop --from '*@shop.example.com' --from owner@example.com\n"
     "  pass show shop | postwain user add shop --rate 1000/h --password-stdin\n"},
    {"user set", "", user_set, set_options,
     "usage: postwain user set NAME [OPTION]... [--unset OPTION]...\n"
     "\n"
     "The options of `postwain user add`: each one given replaces what the user had of it, all\n"
     "others stay. Names and passwords do not change here.\n"
     "\n"
     "  --unset OPTION     forget it: from, rate, burst, max-size, max-recipients, tag, priority,\n"
     "                     destination, certificate (repeat)\n"
     "  --disabled         may not log in; running sessions are refused at their next message\n"
     "  --enabled          may log in again\n"
     "\n"
     "examples:\n"
     "  postwain user set shop --rate 5000/h --burst 500\n"
     "  postwain user set shop --unset from --disabled\n"},
    {"user list", "", user_list, NULL,
     "usage: postwain user list [--json]\n"
     "\n"
     "LOGIN is what a user may log in with: password (PLAIN, LOGIN), scram (SCRAM-SHA-256, where\n"
     "the password was set by `postwain user`), certificate (EXTERNAL).\n"
     "\n"
     "example:\n"
     "  postwain user list --json | jq -r .user\n"},
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

struct conf *user_conf(const struct cli_args *a, int *ret_exit)
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

/* At a terminal it is asked for, and not shown while it is typed. */
static char *get_password(char ret[PASSWORD_SIZE])
{
    struct termios shown, hidden;
    if (tcgetattr(STDIN_FILENO, &shown) != 0)
        return fgets(ret, PASSWORD_SIZE, stdin);
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden); /* before it is asked for: nobody is that quick */
    fputs("password: ", stderr);
    char *got = fgets(ret, PASSWORD_SIZE, stdin);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    fputc('\n', stderr);
    return got;
}

static int read_password(char ret[PASSWORD_SIZE])
{
    if (!get_password(ret))
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

static void print_changed(const struct cli_args *a, const char *word)
{
    if (a->json)
        printf("{\"user\":\"%s\"}\n", a->words[0]); /* a name needs no escapes */
    else
        printf("%s %s.\n", word, a->words[0]);
}

/* What one --option becomes in the file; NULL: it is no option of a user. */
static const struct user_option *option_named(const char *name)
{
    const struct user_option *o = user_option_find(slice_str(name));
    return o && strcmp(o->name, "scram") != 0 ? o : NULL;
}

static int check_value(const struct cli_args *a, const struct user_option *o, const char *value)
{
    struct user scratch = {0};
    struct arena arena;
    arena_init(&arena, 65536);
    bool ok = !strpbrk(value, ",\r\n") && o->take(&scratch, slice_str(value), &arena);
    arena_done(&arena);
    if (!ok)
        return args_wrong(a, "--%s: \"%s\" is not %s", o->name, value, o->needs);
    if (strcmp(o->name, "from") == 0 && !strchr(value, '@') && !strchr(value, '*'))
        return args_wrong(a, "--from: %s matches no address: write *@%s", value, value);
    return ARGS_GO_ON;
}

/* The options given as the users file has them. */
static int options_of(const struct cli_args *a, struct buf *out)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct user_option *o = option_named(a->names[i]);
        if (!o)
            continue;
        const bool is_flag = o->kind == USER_OPTION_FLAG;
        int rc = is_flag ? ARGS_GO_ON : check_value(a, o, a->values[i]);
        if (rc != ARGS_GO_ON)
            return rc;
        buf_addf(out, "%s%s%s%s", out->n ? "," : "", o->name, is_flag ? "" : "=",
                 is_flag ? "" : a->values[i]);
    }
    return out->overflow ? args_wrong(a, "there are too many options") : ARGS_GO_ON;
}

/* "key,…" of --unset and --enabled. */
static int unset_of(const struct cli_args *a, struct buf *out)
{
    for (size_t i = 0; i < a->n; i++) {
        const bool enabled = strcmp(a->names[i], "enabled") == 0;
        if (!enabled && strcmp(a->names[i], "unset") != 0)
            continue;
        const char *name = enabled ? "disabled" : a->values[i];
        if (!option_named(name))
            return args_wrong(a, "--unset: %s is not an option of a user", name);
        buf_addf(out, "%s%s", out->n ? "," : "", name);
    }
    return out->overflow ? args_wrong(a, "there are too many options") : ARGS_GO_ON;
}

static bool has_destination(const struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_destinations; i++)
        if (strcmp(c->destinations[i].name, name) == 0)
            return true;
    return false;
}

/* What only the configuration knows. */
static int check_destination(const struct cli_args *a, const struct conf *c)
{
    const char *name = args_value(a, "destination");
    return !name || has_destination(c, name)
               ? ARGS_GO_ON
               : cli_fail(CLI_NOTHING, "%s has no destination \"%s\"", c->path, name);
}

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

struct users *user_load(const struct conf *c, int *ret_exit)
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
static int edit(const struct conf *c, const struct users_change *change)
{
    struct err e;
    int rc;
    struct users *before = user_load(c, &rc);
    if (!before)
        return rc;
    users_unref(before);
    rc = users_edit(c->users_file, change, &e);
    if (rc == 0)
        return CLI_DONE;
    return cli_fail(rc == -EINVAL ? CLI_USAGE : cli_exit_of(rc), "%s", e.text);
}

static int set_password(const struct cli_args *a, const struct conf *c, const char *options,
                        const char *password, bool is_given)
{
    struct user_secrets secrets;
    struct err e;
    const bool is_new = strcmp(a->verb->name, "user add") == 0;
    if (users_hash(slice_str(password), &secrets, &e) < 0)
        return cli_fail(CLI_USAGE, "%s", e.text);
    const struct users_change change = {is_new ? USERS_ADD : USERS_PASSWORD, a->words[0], &secrets,
                                        options, NULL};
    int rc = edit(c, &change);
    if (rc == CLI_DONE)
        print_added(a, c, is_given ? NULL : password);
    if (rc == CLI_DONE && !secrets.scram[0])
        fputs("postwain: this password has characters that SCRAM does not know (RFC 4013): it is "
              "for PLAIN and LOGIN only\n",
              stderr);
    explicit_bzero(&secrets, sizeof secrets);
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

/* `user add` and `user password`: they differ in whether the user may be there already. */
static int user_add(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    char password[PASSWORD_SIZE];
    DEFER(buf_done) struct buf options = BUF_MAX(OPTIONS_BYTES_MAX);
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON || (rc = one_name(&a)) != ARGS_GO_ON)
        return rc;
    if ((rc = options_of(&a, &options)) != ARGS_GO_ON)
        return rc;
    const bool is_given = args_value(&a, "password-stdin");
    struct conf *c = user_conf(&a, &rc);
    if (!c)
        return rc;
    rc = check_destination(&a, c);
    if (rc == ARGS_GO_ON && is_given)
        rc = read_password(password);
    else if (rc == ARGS_GO_ON)
        make_password(password);
    if (rc == ARGS_GO_ON)
        rc = set_password(&a, c, buf_str(&options), password, is_given);
    explicit_bzero(password, sizeof password);
    conf_unref(c);
    return rc;
}

static int set_with(const struct cli_args *a, const char *options, const char *unset)
{
    int rc;
    struct conf *c = user_conf(a, &rc);
    if (!c)
        return rc;
    const struct users_change change = {USERS_SET, a->words[0], NULL, options, unset};
    rc = check_destination(a, c);
    if (rc == ARGS_GO_ON)
        rc = edit(c, &change);
    if (rc == CLI_DONE)
        print_changed(a, "Changed");
    conf_unref(c);
    return rc;
}

static int user_set(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    DEFER(buf_done) struct buf options = BUF_MAX(OPTIONS_BYTES_MAX);
    DEFER(buf_done) struct buf unset = BUF_MAX(OPTIONS_BYTES_MAX);
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON || (rc = one_name(&a)) != ARGS_GO_ON ||
        (rc = options_of(&a, &options)) != ARGS_GO_ON || (rc = unset_of(&a, &unset)) != ARGS_GO_ON)
        return rc;
    if (!options.n && !unset.n)
        return args_wrong(&a, "say what to change: an option of `postwain user add`, or --unset");
    if (args_value(&a, "disabled") && args_value(&a, "enabled"))
        return args_wrong(&a, "--disabled or --enabled, not both");
    return set_with(&a, buf_str(&options), buf_str(&unset));
}

static int user_remove(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON || (rc = one_name(&a)) != ARGS_GO_ON)
        return rc;
    struct conf *c = user_conf(&a, &rc);
    if (!c)
        return rc;
    const struct users_change change = {.what = USERS_REMOVE, .name = a.words[0]};
    rc = edit(c, &change);
    conf_unref(c);
    if (rc == CLI_DONE)
        print_changed(&a, "Removed");
    return rc;
}
