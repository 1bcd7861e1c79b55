#include "relay/base/must.h"
#include "relay/sink/private.h"
#include <stdio.h>
#include <stdlib.h>

/* What a place where mail ends can honour: it does not report (DSN, BY=…T), and holds nothing. */
#define OFFER_DEFAULT                                                                              \
    (SMTP_EVERY_EXTENSION & ~(SMTP_DSN | SMTP_FUTURERELEASE | SMTP_DELIVERBY | SMTP_MT_PRIORITY))

const char sink_help[] =
    "usage: postwain sink --listen ADDR --maildir DIR [OPTION]...\n"
    "\n"
    "Receives mail by SMTP and files it in the Maildir DIR (made when missing). For tests and\n"
    "demonstrations: it takes every sender and recipient. Prints `ready ADDR` when it listens, "
    "then\n"
    "one line a message: time, from, to, size, file. SIGTERM or SIGINT stop it.\n"
    "\n"
    "  --listen ADDR     127.0.0.1:2525 or [::1]:2525; port 0 takes a free one; may be repeated\n"
    "  --maildir DIR     where messages go\n"
    "  --refuse PATTERN  answers 550 5.1.1 to recipients like 'nobody@*'; may be repeated\n"
    "  --defer PATTERN   answers 450 4.2.0 to such recipients; may be repeated\n"
    "  --delay MS        waits so long before the reply to a message\n"
    "  --hostname NAME   in the greeting (default: this host's)\n"
    "  --no-tls          does not offer STARTTLS (else with a self-signed certificate)\n"
    "  --offer KEYWORDS  what EHLO offers in place of all that a sink can honour, such as\n"
    "                    'PIPELINING,8BITMIME,DSN'; what is not offered is refused\n"
    "  --quiet           prints nothing for a message\n"
    "\n"
    "A file has Return-Path: and Delivered-To: in front (X-Envelope-To: when there are several\n"
    "recipients), then the content exactly as received, lines ending in CR LF, so that it can be\n"
    "compared byte for byte. The 250 comes when the file and its name are on the disk.\n";

static void pattern_add(struct patterns *p, const char *s)
{
    p->items = must_realloc(p->items, (p->n + 1) * sizeof *p->items);
    p->items[p->n++] = s;
}

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "postwain sink: %s%s; see postwain sink --help\n", what, which);
    return 2;
}

static int take_offer(struct options *o, const char *value)
{
    struct slice rest = slice_str(value);
    o->offer = 0;
    while (rest.n) {
        unsigned one = smtp_extension_find(slice_cut(&rest, ','));
        if (one == 0)
            return usage("--offer takes keywords of EHLO with commas between, not ", value);
        o->offer |= one;
    }
    return 0;
}

static int take_value(struct options *o, const char *name, const char *value)
{
    uint64_t ms;
    if (strcmp(name, "--maildir") == 0) {
        o->maildir = value;
    } else if (strcmp(name, "--hostname") == 0) {
        o->hostname = value;
    } else if (strcmp(name, "--refuse") == 0) {
        pattern_add(&o->refuse, value);
    } else if (strcmp(name, "--defer") == 0) {
        pattern_add(&o->defer, value);
    } else if (strcmp(name, "--offer") == 0) {
        return take_offer(o, value);
    } else if (strcmp(name, "--listen") == 0) {
        if (o->n_listen == SINK_LISTEN_MAX)
            return usage("too many --listen", "");
        o->listen[o->n_listen++] = value;
    } else {
        if (!slice_u64(slice_str(value), 3600 * 1000, &ms))
            return usage("--delay takes milliseconds (at most an hour), not ", value);
        o->delay_ms = (int64_t)ms;
    }
    return 0;
}

static bool takes_value(const char *name)
{
    static const char *const names[] = {"--listen", "--maildir",  "--refuse", "--defer",
                                        "--delay",  "--hostname", "--offer"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int check(const struct options *o)
{
    if (o->n_listen == 0)
        return usage("--listen ADDR is missing", "");
    if (!o->maildir || !o->maildir[0])
        return usage("--maildir DIR is missing", "");
    if (o->hostname && !address_is_domain(slice_str(o->hostname)))
        return usage("not a host name: ", o->hostname);
    return 0;
}

int options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.tls = true, .offer = OFFER_DEFAULT};
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        int rc = 0;
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
            return o->help = true, 0;
        if (strcmp(a, "--no-tls") == 0)
            o->tls = false;
        else if (strcmp(a, "--quiet") == 0)
            o->quiet = true;
        else if (!takes_value(a))
            rc = usage("unknown argument ", a);
        else if (i + 1 == argc)
            rc = usage("a value is missing behind ", a);
        else
            rc = take_value(o, a, argv[++i]);
        if (rc)
            return rc;
    }
    return check(o);
}

void options_done(struct options *o)
{
    free(o->refuse.items);
    free(o->defer.items);
}
