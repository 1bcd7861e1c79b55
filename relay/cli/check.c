/* `check`: all that `serve` would refuse, and all that would hurt later. */
#include "relay/cli/private.h"
#include "relay/tls/tls.h"
#include <unistd.h>

#define DAY INT64_C(86400)
#define EXPIRES_SOON (14 * DAY)

static void say_problem(void *ctx, const char *line)
{
    (*(unsigned *)ctx)++;
    fprintf(stderr, "%s\n", line);
}

/* What conf_check cannot know: whether the key belongs to the certificate, and how long it lasts.
 */
static unsigned check_certificate(const struct conf *c)
{
    struct tls_context *tls;
    struct err e;
    char left[SHOW_SIZE];
    if (!c->tls_certificate[0])
        return 0;
    if (tls_context_server(&tls, c->tls_certificate, c->tls_key, &e) < 0) {
        fprintf(stderr, "%s: tls: %s\n", c->path, e.text);
        return 1;
    }
    const int64_t lasts = tls_context_not_after(tls) - wall_now().us / WALL_SECOND;
    tls_context_unref(tls);
    if (lasts <= 0)
        fprintf(stderr, "%s: tls: %s has expired: renew it\n", c->path, c->tls_certificate);
    else if (lasts < EXPIRES_SOON)
        printf("note: %s expires in %s: renew it\n", c->tls_certificate, show_seconds(left, lasts));
    return lasts <= 0;
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
    if (!c->tls_certificate[0] && c->n_listeners == 1 && strcmp(c->listeners[0].name, "local") == 0)
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
    if (conf_check(c, say_problem, &problems) == 0)
        problems += check_certificate(c);
    if (problems == 0) {
        print_summary(c);
        print_notes(c);
    }
    conf_unref(c);
    return problems ? CLI_NOTHING : CLI_DONE;
}
