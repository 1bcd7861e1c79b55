/* `dkim`: keys that sign mail made, listed, and held against what is published. */
#include "relay/mail/dkim.h"
#include "dns/txt.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TXT_STRING_MAX = 255, NAME_SIZE = DKIM_SELECTOR_MAX + DNS_NAME_SIZE + 16 };

static const struct cli_option key_options[] = {
    {"selector", 0, true}, {"type", 0, true}, {"bits", 0, true}, {0}};

static int make_key(const struct cli_verb *v, int argc, char **argv);
static int list(const struct cli_verb *v, int argc, char **argv);
static int check(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb group = {
    "dkim", "", NULL, NULL,
    "usage: postwain dkim key|list|check …\n"
    "\n"
    "  key DOMAIN        make a key, and say what to publish and what to configure\n"
    "  list [DOMAIN]     whose mail is signed with which keys, and the record of each\n"
    "  check [DOMAIN]    ask the DNS whether those records are there\n"
    "\n"
    "Mail is signed by the domain of its From: address: dkim \"example.com\" { … } in the\n"
    "configuration, postwain.conf(5).\n"
    "\n"
    "examples:\n"
    "  postwain dkim key example.com\n"
    "  postwain dkim check\n"};

static const struct cli_verb verbs[] = {
    {"dkim key", "", make_key, key_options,
     "usage: postwain dkim key DOMAIN [--selector NAME] [--type rsa|ed25519] [--bits N]\n"
     "\n"
     "Makes a private key in the folder dkim beside the configuration, and prints the TXT record\n"
     "to publish and the section to write into the configuration. Nothing is signed before that\n"
     "section is there. Never overwrites a key.\n"
     "\n"
     "  --selector NAME   the name of the key, a new one for each (default: s and the year)\n"
     "  --type TYPE       rsa, which every receiver knows (default), or ed25519, which some do\n"
     "                    know: as a second key beside an RSA key (default name: e and the year)\n"
     "  --bits N          of an RSA key: 2048 to 4096 (default 2048)\n"
     "\n"
     "examples:\n"
     "  postwain dkim key example.com\n"
     "  postwain dkim key example.com --type ed25519\n"},
    {"dkim list", "", list, NULL,
     "usage: postwain dkim list [DOMAIN] [--json]\n"
     "\n"
     "The keys of the configuration, each with its TXT record as it stands in a zone file. Many\n"
     "web pages of DNS providers want the name and the text without quotes: --json has them.\n"
     "Reads the key files. Exit code 1: there is none.\n"
     "\n"
     "examples:\n"
     "  postwain dkim list\n"
     "  postwain dkim list --json | jq -r .record\n"},
    {"dkim check", "", check, NULL,
     "usage: postwain dkim check [DOMAIN] [--json]\n"
     "\n"
     "Asks the name servers of the configuration for the record of each key, and says whether it\n"
     "is the right one. Exit code 1: one is not there, or not right.\n"
     "\n"
     "example:\n"
     "  postwain dkim check example.com && postwain reload\n"},
};

int verb_dkim(const struct cli_verb *v, int argc, char **argv)
{
    (void)v;
    return args_dispatch("dkim", verbs, sizeof verbs / sizeof *verbs, &group, argc, argv);
}

/* ---- words ---- */

static void name_of(char name[NAME_SIZE], const char *selector, const char *domain)
{
    snprintf(name, NAME_SIZE, "%s._domainkey.%s", selector, domain);
}

/* As a zone file has it: a string of a TXT record holds 255 octets. */
static void print_record(const char *name, struct slice record)
{
    printf("%s. IN TXT (", name);
    for (; record.n > 0; record = slice_skip(record, TXT_STRING_MAX))
        printf("\n    \"%.*s\"", SLICE_ARG(slice_head(record, TXT_STRING_MAX)));
    puts(" )");
}

static void kind_of(char text[SHOW_SIZE], const struct dkim_key *k)
{
    if (dkim_key_kind(k) == DKIM_RSA)
        snprintf(text, SHOW_SIZE, "RSA, %u bits", dkim_key_bits(k));
    else
        snprintf(text, SHOW_SIZE, "Ed25519");
}

/* ---- key ---- */

struct fresh {
    const struct conf *conf;
    enum dkim_kind kind;
    unsigned bits;
    char domain[DNS_NAME_SIZE], selector[DKIM_SELECTOR_MAX + 1];
    char folder[PATH_MAX], file[DNS_NAME_SIZE + DKIM_SELECTOR_MAX + 8];
};

static int take_type(const struct cli_args *a, struct fresh *f)
{
    const char *type = args_value(a, "type");
    uint64_t bits = DKIM_RSA_BITS_GOOD;
    int rc;
    if (type && strcmp(type, "rsa") != 0 && strcmp(type, "ed25519") != 0)
        return args_wrong(a, "--type is rsa or ed25519");
    f->kind = type && strcmp(type, "ed25519") == 0 ? DKIM_ED25519 : DKIM_RSA;
    if (args_value(a, "bits") && f->kind == DKIM_ED25519)
        return args_wrong(a, "--bits is for RSA: an Ed25519 key has one size");
    if (!args_number(a, "bits", &bits, &rc))
        return rc;
    if (bits < DKIM_RSA_BITS_GOOD || bits > DKIM_RSA_BITS_MAX)
        return args_wrong(a, "--bits is %d to %d", DKIM_RSA_BITS_GOOD, DKIM_RSA_BITS_MAX);
    f->bits = (unsigned)bits;
    return CLI_DONE;
}

static int take_names(const struct cli_args *a, struct fresh *f)
{
    const char *selector = args_value(a, "selector");
    char date[WALL_RFC3339_SIZE];
    if (!dns_name_parse(slice_str(a->words[0]), f->domain))
        return args_wrong(a, "%s is not a domain such as example.com", a->words[0]);
    wall_rfc3339(wall_now(), date);
    if (selector && !dkim_selector_ok(slice_str(selector)))
        return args_wrong(a, "--selector is 1 to 63 lower-case letters, digits, - and dots");
    if (selector)
        snprintf(f->selector, sizeof f->selector, "%s", selector);
    else
        snprintf(f->selector, sizeof f->selector, "%c%.4s", f->kind == DKIM_RSA ? 's' : 'e', date);
    const char *slash = strrchr(a->config, '/');
    snprintf(f->folder, sizeof f->folder, "%.*sdkim", slash ? (int)(slash - a->config) + 1 : 0,
             a->config);
    snprintf(f->file, sizeof f->file, "%s.%s.pem", f->domain, f->selector);
    return CLI_DONE;
}

/* The daemon reads it as the account that it becomes, and nobody else does. */
static int give_away(const struct fresh *f)
{
    char path[PATH_MAX + sizeof f->file + 1];
    const struct passwd *account = f->conf->user[0] ? getpwnam(f->conf->user) : NULL;
    if (geteuid() != 0 || !account)
        return CLI_DONE;
    snprintf(path, sizeof path, "%s/%s", f->folder, f->file);
    if (chown(path, 0, account->pw_gid) < 0 || chmod(path, 0640) < 0 ||
        chown(f->folder, 0, account->pw_gid) < 0 || chmod(f->folder, 0750) < 0)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    return CLI_DONE;
}

static int write_key(const struct fresh *f, struct buf *record)
{
    struct buf pem = BUF_MAX(DKIM_KEY_PEM_MAX);
    struct dkim_key *key = NULL;
    struct err e;
    int rc = init_make_folders(f->folder, 0750);
    if (rc == CLI_DONE && (dkim_key_make(f->kind, f->bits, &pem, &e) < 0 ||
                           dkim_key_read(&key, buf_slice(&pem), &e) < 0))
        rc = cli_fail(CLI_NOTHING, "%s", e.text);
    if (rc == CLI_DONE)
        rc = init_write_new(f->folder, f->file, buf_slice(&pem), 0600);
    if (rc == CLI_DONE)
        rc = give_away(f);
    if (key)
        dkim_key_record(key, record);
    if (pem.n > 0)
        explicit_bzero(pem.p, pem.n);
    dkim_key_free(key);
    buf_done(&pem);
    return rc;
}

/* The domain's section, if there is one. */
static const struct conf_dkim *section_of(const struct conf *c, const char *domain)
{
    char name[DNS_NAME_SIZE];
    for (size_t i = 0; i < c->n_dkim; i++)
        if (dns_name_parse(slice_str(c->dkim[i].domain), name) && strcmp(name, domain) == 0)
            return &c->dkim[i];
    return NULL;
}

/* As the file may have it already, and this one: `, "…" }` behind those before. */
static void print_list(const char *key, const struct conf_list *list, const char *more)
{
    const bool many = list && list->n > 0;
    printf("  %-8s = %s", key, many ? "{ " : "");
    for (size_t i = 0; many && i < list->n; i++)
        printf("\"%s\", ", list->items[i]);
    printf("\"%s\"%s\n", more, many ? " }" : "");
}

static void print_next(const struct fresh *f, struct slice record)
{
    char name[NAME_SIZE], path[PATH_MAX + sizeof f->file + 8];
    const struct conf_dkim *section = section_of(f->conf, f->domain);
    name_of(name, f->selector, f->domain);
    snprintf(path, sizeof path, "%s/%s", f->folder[0] == '/' ? f->folder : "dkim", f->file);
    printf("Made %s/%s.\n\n1. Publish this record in the DNS:\n\n", f->folder, f->file);
    print_record(name, record);
    printf("\n2. %s the configuration:\n\ndkim \"%s\" {\n",
           section ? "Change its section in" : "Add to", f->domain);
    print_list("selector", section ? &section->selector : NULL, f->selector);
    print_list("key", section ? &section->key : NULL, path);
    if (section && section->subdomains)
        puts("  subdomains = true");
    printf("}\n\n3. When the DNS has it:\n\n  postwain dkim check %s && postwain check && postwain "
           "reload\n",
           f->domain);
}

static void print_next_json(const struct fresh *f, struct slice record)
{
    char name[NAME_SIZE], path[PATH_MAX + sizeof f->file + 1];
    name_of(name, f->selector, f->domain);
    snprintf(path, sizeof path, "%s/%s", f->folder, f->file);
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s%}", "signing_domain", f->domain, "selector",
                            f->selector, "key", path, "name", name, "record", record.p, record.n);
    MUST(row);
    print_json_line(NULL, row);
    json_decref(row);
}

static int make_key(const struct cli_verb *v, int argc, char **argv)
{
    DEFER(buf_done) struct buf record = BUF_MAX(DKIM_RECORD_MAX);
    struct cli_args a;
    struct fresh f = {0};
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words != 1)
        return args_wrong(&a, "say for which domain, the one of From: addresses");
    if ((rc = take_type(&a, &f)) != CLI_DONE || (rc = take_names(&a, &f)) != CLI_DONE)
        return rc;
    struct conf *c = cli_conf(&a, &rc);
    if (!c)
        return rc;
    f.conf = c;
    rc = write_key(&f, &record);
    if (rc == CLI_DONE && a.json)
        print_next_json(&f, buf_slice(&record));
    else if (rc == CLI_DONE)
        print_next(&f, buf_slice(&record));
    conf_unref(c);
    return rc;
}

/* ---- list and check ---- */

struct seen { /* one key of the configuration */
    const struct conf *conf;
    const struct dkim_domain *domain;
    const char *selector, *path;
    const struct dkim_key *key;
    struct slice record;
    char name[NAME_SIZE];
    bool json;
};

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

static json_t *json_of(const struct seen *s)
{
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:I, s:b, s:s, s:s, s:s%}", "signing_domain", s->domain->name,
                  "selector", s->selector, "type", dkim_key_name(s->key), "bits",
                  (json_int_t)dkim_key_bits(s->key), "subdomains", (int)s->domain->subdomains,
                  "key", s->path, "name", s->name, "record", s->record.p, s->record.n);
    MUST(row);
    return row;
}

static bool list_one(const struct seen *s)
{
    char kind[SHOW_SIZE];
    if (s->json) {
        json_t *row = json_of(s);
        print_json_line(NULL, row);
        json_decref(row);
        return true;
    }
    kind_of(kind, s->key);
    printf("; %s%s: %s, %s\n", s->domain->name, s->domain->subdomains ? " and below" : "", kind,
           s->path);
    print_record(s->name, s->record);
    return true;
}

/* NULL: one record, and it is this key's. */
static const char *what_is_wrong(const struct seen *s, const struct dns_txt *t)
{
    const char *why = NULL;
    if (t->status == DNS_NXDOMAIN || t->status == DNS_NODATA || (t->status == DNS_OK && t->n == 0))
        return "there is no TXT record";
    if (t->status != DNS_OK)
        return "the DNS gives no answer: try again";
    for (size_t i = 0; i < t->n; i++) {
        const char *differs = dkim_key_differs(s->key, buf_slice(&t->records[i]));
        if (!differs && t->n > 1)
            return "there is more than one TXT record: receivers may take the other one";
        if (!differs)
            return NULL;
        why = differs;
    }
    return why;
}

static bool check_one(const struct seen *s)
{
    struct dns_txt t;
    DEFER(buf_done) struct buf servers = BUF_MAX(4096);
    for (size_t i = 0; i < s->conf->dns_servers.n; i++)
        buf_addf(&servers, "%s%s", i ? "," : "", s->conf->dns_servers.items[i]);
    dns_txt_ask(&t, buf_str(&servers), s->name, s->conf->dns_timeout_ms);
    const char *why = what_is_wrong(s, &t);
    dns_txt_done(&t);
    if (s->json) {
        json_t *row = json_of(s);
        MUST(json_object_set_new(row, "published", json_boolean(!why)) == 0);
        if (why)
            MUST(json_object_set_new(row, "problem", json_string(why)) == 0);
        print_json_line(NULL, row);
        json_decref(row);
    } else if (why) {
        printf("%s: %s\n", s->name, why);
        print_record(s->name, s->record);
    } else {
        printf("%s: ok\n", s->name);
    }
    return !why;
}

/* Every key, of one domain or of all; how many of them `each` was not content with. */
static unsigned each_key(const struct conf *c, const char *only, bool json,
                         bool (*each)(const struct seen *s), unsigned *ret_n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < c->n_dkim; i++) {
        char name[DNS_NAME_SIZE];
        MUST(dns_name_parse(slice_str(c->dkim[i].domain), name));
        const struct dkim_domain *d = dkim_ring_find(c->dkim_keys, slice_str(name));
        MUST(d);
        for (size_t k = 0; (!only || strcmp(only, name) == 0) && k < d->n; k++) {
            DEFER(buf_done) struct buf record = BUF_MAX(DKIM_RECORD_MAX);
            struct seen s = {.conf = c,
                             .domain = d,
                             .selector = d->keys[k].selector,
                             .path = c->dkim[i].key.items[k],
                             .key = d->keys[k].key,
                             .json = json};
            dkim_key_record(s.key, &record);
            s.record = buf_slice(&record);
            name_of(s.name, s.selector, name);
            (*ret_n)++;
            bad += !each(&s);
        }
    }
    return bad;
}

static int look(const struct cli_verb *v, int argc, char **argv, bool (*each)(const struct seen *s))
{
    struct cli_args a;
    char only[DNS_NAME_SIZE];
    unsigned n = 0, bad = 0;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words > 1 || (a.n_words == 1 && !dns_name_parse(slice_str(a.words[0]), only)))
        return args_wrong(&a, "one domain such as example.com, or none for all");
    struct conf *c = cli_conf(&a, &rc);
    if (!c)
        return rc;
    rc = conf_load_keys(c, say_problem, NULL) ? CLI_NOTHING : CLI_DONE;
    if (rc == CLI_DONE) {
        bad = each_key(c, a.n_words ? only : NULL, a.json, each, &n);
        if (n == 0)
            fputs("No mail is signed: the configuration has no such key. `postwain dkim key "
                  "DOMAIN` makes one.\n",
                  stderr);
        rc = bad || n == 0 ? CLI_NOTHING : CLI_DONE;
    }
    conf_unref(c);
    return rc;
}

static int list(const struct cli_verb *v, int argc, char **argv)
{
    return look(v, argc, argv, list_one);
}

static int check(const struct cli_verb *v, int argc, char **argv)
{
    return look(v, argc, argv, check_one);
}

/* ---- for `check` ---- */

void dkim_summary(const struct conf *c)
{
    for (size_t i = 0; i < c->n_dkim; i++) {
        const struct conf_list *list = &c->dkim[i].selector;
        printf("  dkim %s:", c->dkim[i].domain);
        for (size_t k = 0; k < list->n; k++)
            printf("%s %s", k ? "," : "", list->items[k]);
        putchar('\n');
    }
}

static bool note_one(const struct seen *s)
{
    if (dkim_key_kind(s->key) == DKIM_RSA && dkim_key_bits(s->key) < DKIM_RSA_BITS_GOOD)
        printf("note: dkim %s: the RSA key in %s has %u bits: some receivers want 2048\n",
               s->domain->name, s->path, dkim_key_bits(s->key));
    return true;
}

void dkim_notes(const struct conf *c)
{
    unsigned n = 0;
    (void)each_key(c, NULL, false, note_one, &n);
}
