/* `check`: all that `serve` would refuse, and all that would hurt later. */
#include "relay/cli/private.h"
#include "relay/tls/tls.h"
#include <unistd.h>

#define DAY INT64_C(86400)
#define EXPIRES_SOON (21 * DAY) /* as `status` warns */

static void say_problem(void *ctx, const char *line)
{
    (*(unsigned *)ctx)++;
    fprintf(stderr, "%s\n", line);
}

static void say_note(void *ctx, const char *line)
{
    (void)ctx;
    printf("note: %s\n", line);
}

/* One certificate of the i-th section: how long it lasts. */
static unsigned check_dates(const struct conf *c, size_t i, const struct tls_cert_info *info)
{
    char text[1000], left[SHOW_SIZE];
    unsigned problems = 0;
    const int64_t now = wall_now().us / WALL_SECOND, lasts = info->not_after_s - now;
    if (lasts <= 0)
        snprintf(text, sizeof text, "certificate: %.500s has expired: renew it", info->path);
    else if (info->not_before_s > now)
        snprintf(text, sizeof text, "certificate: %.500s is not yet valid: is the clock right?",
                 info->path);
    else if (lasts < EXPIRES_SOON)
        snprintf(text, sizeof text, "certificate: %.500s expires in %s: renew it", info->path,
                 show_seconds(left, lasts));
    else
        return 0;
    if (lasts > 0 && info->not_before_s <= now)
        conf_tell_tls(c, i, "certificate", text, say_note, NULL);
    else
        conf_tell_tls(c, i, "certificate", text, say_problem, &problems);
    return problems;
}

/* A title that looks like a name is taken for one. */
static void check_title(const struct conf *c, size_t i, const struct tls_certs *certs)
{
    char text[800];
    const char *title = c->tls[i].name;
    if (!strchr(title, '.') || tls_certs_has_name(certs, slice_str(title)))
        return;
    snprintf(text, sizeof text,
             "tls \"%.255s\": its certificate is not for that name: clients that ask for it and "
             "check will not go on",
             title);
    conf_tell_tls(c, i, "certificate", text, say_note, NULL);
}

static bool names_one_of(const char *text, const struct conf_list *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        if (strncmp(text, paths->items[i], strlen(paths->items[i])) == 0)
            return true;
    return false;
}

/* What conf_check cannot know: whether the keys belong to the certificates, and how long they last.
 */
static unsigned check_section(const struct conf *c, size_t i)
{
    const struct conf_tls *s = &c->tls[i];
    struct tls_certs *certs;
    struct err e;
    unsigned problems = 0;
    if (s->certificate.n == 0)
        return 0;
    if (tls_certs_load(&certs, "", s->certificate.items, s->key.items, s->certificate.n, &e) < 0) {
        conf_tell_tls(c, i, names_one_of(e.text, &s->key) ? "key" : "certificate", e.text,
                      say_problem, &problems);
        return problems;
    }
    for (size_t k = 0; k < tls_certs_count(certs); k++) {
        struct tls_cert_info info = tls_certs_info(certs, k);
        problems += check_dates(c, i, &info);
    }
    check_title(c, i, certs);
    tls_certs_unref(certs);
    return problems;
}

static unsigned check_authorities(const struct conf *c, size_t i)
{
    struct err e;
    unsigned problems = 0;
    const char *path = c->listeners[i].client_ca;
    if (path[0] && tls_check_authorities(path, &e) < 0)
        conf_tell_listener(c, i, "client-ca", e.text, say_problem, &problems);
    return problems;
}

/* Mail for such a destination would wait for a handshake that cannot be, until it expires. */
static unsigned check_store(const struct conf *c)
{
    char text[1200];
    struct err e;
    unsigned problems = 0;
    if (tls_check_store(&e) == 0)
        return 0;
    snprintf(text, sizeof text,
             "tls: no receiver's certificate can be verified: %.600s. Install the package "
             "ca-certificates, or name a file of authorities in SSL_CERT_FILE",
             e.text);
    for (size_t i = 0; i < c->n_destinations; i++)
        if (c->destinations[i].tls == CONF_OUT_VERIFY)
            conf_tell_destination(c, i, "tls", text, say_problem, &problems);
    return problems;
}

static unsigned check_certificates(const struct conf *c)
{
    unsigned problems = check_store(c);
    for (size_t i = 0; i < c->n_tls; i++)
        problems += check_section(c, i);
    for (size_t i = 0; i < c->n_listeners; i++)
        problems += check_authorities(c, i);
    return problems;
}

static void print_listener(const struct conf_listener *l)
{
    static const char *const tls[] = {"no TLS", "STARTTLS", "TLS"};
    static const char *const auth[] = {"login required", "login optional", "no login"};
    printf("  listener %s:", l->name);
    for (size_t i = 0; i < l->address.n; i++)
        printf("%s%s", i ? ", " : " ", l->address.items[i]);
    printf(" (%s, %s", tls[l->tls], auth[l->auth]);
    for (size_t i = 0; i < l->trust.n; i++)
        printf("%s%s", i ? ", " : "; trusts ", l->trust.items[i]);
    puts(")");
}

static void print_summary(const struct conf *c)
{
    printf("%s: ok\n", c->path);
    for (size_t i = 0; i < c->n_listeners; i++)
        print_listener(&c->listeners[i]);
    for (size_t i = 0; i + 1 < c->n_destinations; i++)
        printf("  destination %s\n", c->destinations[i].name);
    dkim_summary(c);
    if (!conf_has_certificate(c) && c->n_listeners == 1 &&
        strcmp(c->listeners[0].name, "local") == 0)
        puts(
            "note: only programs of this machine may send. For others add a certificate, tls { "
            "certificate = … key = … },\n      and logins, users { file = … }; `postwain init DIR` "
            "makes both.");
}

/* Nothing is wrong, and yet it may surprise. */
static void print_notes(const struct conf *c)
{
    if (!strchr(c->hostname, '.'))
        printf("note: hostname \"%s\" is not a full name: receivers look for one such as "
               "relay.example.com\n",
               c->hostname);
    for (size_t i = 0; i < c->n_listeners; i++)
        if (conf_is_open_relay(&c->listeners[i]))
            printf(
                "note: listener %s is an OPEN RELAY: everybody may send to everybody through it\n",
                c->listeners[i].name);
    if (c->http_address[0] && strncmp(c->http_address, "127.", 4) != 0 &&
        strncmp(c->http_address, "[::1]", 5) != 0)
        printf("note: whoever reaches http at %s may read the metrics: there is no login\n",
               c->http_address);
    dkim_notes(c);
    if (geteuid() == 0 && !c->user[0])
        puts("note: without `user` a relay that root starts stays root");
}

int verb_check(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    unsigned problems = 0;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "check takes no arguments");
    struct conf *c = cli_conf(&a, &rc);
    if (!c)
        return rc;
    if (conf_check(c, say_problem, &problems) == 0) {
        problems += check_certificates(c);
        (void)conf_load_keys(c, say_problem, &problems);
    }
    if (problems == 0) {
        print_summary(c);
        print_notes(c);
        if (args_value(&a, "dns"))
            problems += check_names(c, say_problem, say_note);
    }
    conf_unref(c);
    return problems ? CLI_NOTHING : CLI_DONE;
}
