/* The verbs of the program, and what --help says about them. */
#include "relay/cli/cli.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

static const struct cli_option help_options[] = {{"mdoc", 0, false}, {0}};
static const struct cli_option explain_options[] = {
    {"user", 0, true}, {"probe", 0, false}, {"no-rcpt", 0, false}, {"sender", 0, true}, {0}};
static const struct cli_option check_options[] = {{"dns", 0, false}, {0}};
static const struct cli_option trace_options[] = {{"to", 0, true},     {"from", 0, true},
                                                  {"site", 0, true},   {"destination", 0, true},
                                                  {"client", 0, true}, {"id", 0, true},
                                                  {"user", 0, true},   {"for", 0, true},
                                                  {"count", 0, true},  {0}};
static const struct cli_option top_options[] = {{"every", 0, true}, {0}};
static const struct cli_option init_options[] = {{"hostname", 0, true}, {0}};
static const struct cli_option forward_options[] = {
    {"url", 0, true},         {"since-file", 0, true},
    {"secret-file", 0, true}, {"batch", 0, true},
    {"timeout", 0, true},     {"ca-file", 0, true},
    {"in-clear", 0, false},   {"once", 0, false},
    LOG_FILTER_OPTIONS,       {0}};
static const struct cli_option log_options[] = {
    {"follow", 'f', false}, {"since-seq", 0, true}, {"schema", 0, false}, LOG_FILTER_OPTIONS, {0}};

#define SENDMAIL_HELP_TEXT                                                                         \
    "usage: sendmail [-t] [-i] [-f SENDER] [-F NAME] [-v] [RECIPIENT]...\n"                        \
    "       sendmail -bp | mailq      sendmail -q      sendmail -bs      newaliases\n"             \
    "\n"                                                                                           \
    "A message on standard input, as programs give it: header, empty line, text.\n"                \
    "Also as `postwain sendmail` and `postwain mailq`.\n"                                          \
    "\n"                                                                                           \
    "  -t           recipients also from To, Cc and Bcc; Bcc is taken off\n"                       \
    "  -i, -oi      a line with only a dot does not end the message\n"                             \
    "  -f SENDER    the envelope sender, '<>' for none (default: this account)\n"                  \
    "  -F NAME      the name in From:, when the message has no From:\n"                            \
    "  -v           print the queue id\n"                                                          \
    "  -N never|success,failure,delay   -R full|hdrs   -V ID   delivery reports\n"                 \
    "  -B 8BITMIME   -C FILE (the configuration)   -G (leave the header's addresses)\n"            \
    "  -bp          list the queue      -q, -qIID, -qRTO, -qSFROM   try again now\n"               \
    "  -bs          an SMTP session on standard input and output\n"                                \
    "\n"                                                                                           \
    "Other options of sendmail are passed over. root and postmaster are the\n"                     \
    "configuration's postmaster; other names without a domain get @hostname. Goes\n"               \
    "through the control socket or, for accounts that may not use it, through a\n"                 \
    "listener with trust for this host.\n"                                                         \
    "\n"                                                                                           \
    "Exit codes (sysexits.h): 0 taken and safe on disk, 64 usage, 65 the message,\n"               \
    "67 a recipient, 69 refused, 75 not now (nothing was taken), 77 not permitted,\n"              \
    "78 configuration.\n"                                                                          \
    "\n"                                                                                           \
    "examples:\n"                                                                                  \
    "  printf 'Subject: hello\\n\\nhello\\n' | postwain sendmail -v bob@example.com\n"             \
    "  git config --global sendemail.sendmailcmd 'postwain sendmail -i'\n"

static const struct cli_verb verbs[] = {
    {"init", "make a complete working configuration", verb_init, init_options,
     "usage: postwain init [DIR] [--hostname NAME]\n"
     "\n"
     "Makes a complete working configuration in DIR (default /etc/postwain): postwain.conf with\n"
     "comments, a self-signed certificate, an empty users file and the spool folder. Never\n"
     "overwrites. In a DIR of its own, everything the relay writes stays below DIR.\n"
     "For /etc/postwain, and with an account called postwain on this machine, the relay is set up\n"
     "to run as that account.\n"
     "\n"
     "  --hostname NAME   the relay's name (default: this machine's)\n"
     "\n"
     "examples:\n"
     "  postwain init                          # for this machine\n"
     "  postwain init ./run --hostname relay.example.com\n"
     "  postwain check -c ./run/postwain.conf\n"},
    {"check", "validate the configuration and all it names", verb_check, check_options,
     "usage: postwain check [--dns] [-c FILE]\n"
     "\n"
     "Reads the configuration as `serve` would, then looks at what it names: certificate and key,\n"
     "keys that sign mail, users, folders. Each problem is one line, FILE:LINE: message. Exit\n"
     "code 0 when all is well, 1 when there are problems.\n"
     "\n"
     "  --dns   also ask the name servers what receivers will: whether each address that mail "
     "goes\n"
     "          out from has a name (PTR), and whether that and the name said in EHLO lead to it\n"
     "\n"
     "examples:\n"
     "  postwain check\n"
     "  postwain check --dns\n"
     "  postwain check -c ./run/postwain.conf && postwain reload -c ./run/postwain.conf\n"},
    {"user", "credentials: add, list, remove, password", verb_user, NULL, ""},
    {"status", "one screen: what the relay is doing", verb_status, NULL,
     "usage: postwain status [-c FILE] [--json]\n"
     "\n"
     "Version, uptime, the queue by state, totals since the start, how many a second over 1, 5 "
     "and\n"
     "15 minutes (messages accepted; recipients delivered, deferred, bounced), warnings, and the\n"
     "busiest destinations. With --json: one line for each destination, then one with the totals.\n"
     "\n"
     "examples:\n"
     "  postwain status\n"
     "  watch -n 2 postwain status\n"
     "  postwain status --json | tail -n 1 | jq .waiting\n"},
    {"top", "status, live on the whole screen", verb_top, top_options,
     "usage: postwain top [--every DURATION] [-c FILE]\n"
     "\n"
     "`status` on the whole screen, again every two seconds; the busiest destinations first.\n"
     "A daemon that goes away is waited for.\n"
     "\n"
     "  --every DURATION   200ms to 60s\n"
     "\n"
     "  q quit, space now, + - twice or half the time between\n"
     "\n"
     "example:\n"
     "  postwain top --every 500ms\n"},
    {"queue", "the mail that waits: list, show, cat, retry, remove, hold, release, export, import",
     verb_queue, NULL, ""},
    {"client", "who connects: list, ban, allow", verb_client, NULL, ""},
    {"destination", "where mail goes: list, show, suspend, resume", verb_destination, NULL, ""},
    {"explain", "why mail is not there yet, or where it would go", verb_explain, explain_options,
     "usage: postwain explain QUEUE-ID | ADDRESS [--user NAME] [--probe [--no-rcpt] [--sender "
     "ADDR]]\n"
     "\n"
     "Of a message: what each recipient waits for, the last reply, the next attempt. Of both: the\n"
     "destination that claims the mail and by which rule, what DNS says, the hosts in the order "
     "in\n"
     "which they are called and why others are not, TLS, and the state of the site: what stands "
     "in\n"
     "line, connections, suspension, when a dead one is tried again and its last trouble.\n"
     "Nothing changes by it.\n"
     "\n"
     "  --user NAME     of an address: as if this user sent it (the suppression list is his)\n"
     "  --probe         go that way, as a delivery does, and show the dialogue: connect, TLS with\n"
     "                  its certificate, login, MAIL and RCPT; never the message\n"
     "  --no-rcpt       end before MAIL\n"
     "  --sender ADDR   for MAIL (default: the message's, else <>)\n"
     "\n"
     "Exit code 1: there is no such message in the queue, or the probed mail would not be taken.\n"
     "\n"
     "examples:\n"
     "  postwain explain 001MF7BDBW000\n"
     "  postwain explain bob@example.com --probe\n"
     "  postwain explain bob@example.com --json | jq 'select(.about == \"host\")'\n"},
    {"trace", "SMTP dialogues as they are spoken", verb_trace, trace_options,
     "usage: postwain trace [--to PATTERN] [--from PATTERN] [--site NAME] [--client ADDRESS]\n"
     "                      [--user NAME] [--id QUEUE-ID] [--for DURATION] [--count N] [--json]\n"
     "\n"
     "  --to, --from PATTERN   shell patterns on the addresses of RCPT and MAIL\n"
     "  --site, --destination NAME   the way out to there\n"
     "  --client ADDRESS       the way in from this address, or network\n"
     "  --user NAME            who logs in, or tries to, by this name; his mail going out\n"
     "  --id QUEUE-ID          the message with this id, coming in or going out\n"
     "  --for DURATION         ends after it (default: until ^C)    --count N   after N lines\n"
     "\n"
     "All that are given must hold. What the client (C:) and the server (S:) say, in and out, "
     "TLS,\n"
     "the end; of a connection that is open already, from its next command on. Passwords and\n"
     "tokens are never shown, and of content only its octets. What comes faster than it is read\n"
     "is lost, counted and told; mail never waits for it. At most four look on at a time.\n"
     "\n"
     "examples:\n"
     "  postwain trace --to '*@example.com'\n"
     "  postwain trace --client 192.0.2.7 --for 5m\n"},
    {"dkim", "keys that sign mail: key, list, check", verb_dkim, NULL, ""},
    {"suppress", "who is not sent to: list, add, remove, export, import", verb_suppress, NULL, ""},
    {"spool", "the mail on disk: check, and repair", verb_spool, NULL, ""},
    {"log", "the delivery log for a person", verb_log, log_options,
     "usage: postwain log [-f] [FILTER]... [--since-seq N] [--json] | rotate | --schema\n"
     "\n"
     "  -f, --follow            go on as lines are written, from file to file\n"
     "  --since-seq N           what came after number N, also from files put aside\n"
     "  --event NAME            accepted, deferred, delivered, bounced, … (repeat for several)\n"
     "  --to, --from PATTERN    shell patterns on addresses\n"
     "  --id ID  --ids-from FILE  --user NAME  --destination NAME  --site NAME\n"
     "  --class NAME  --error NAME  --code 4xx  --reply TEXT  --tag KEY=PATTERN\n"
     "  --newer-than 2h  --older-than 1d  --attempts-ge N  --size-ge 10M\n"
     "  --json                  the records as they stand\n"
     "  --schema                print the JSON Schema of a record\n"
     "  rotate                  end the live file now: put it aside, or let go of one moved away\n"
     "\n"
     "Without --since-seq reading begins with the live file. Times are UTC.\n"
     "\n"
     "examples:\n"
     "  postwain log -f --to '*@example.com'\n"
     "  postwain log --id 001MF7BDBW000               # all that happened to one message\n"
     "  postwain log --event bounced --json | jq -r .recipient\n"},
    {"forward", "the delivery log to a webhook", verb_forward, forward_options,
     "usage: postwain forward --url URL --since-file FILE [--secret-file FILE] [FILTER]... "
     "[--once]\n"
     "\n"
     "  --url URL            events are posted here, lines of JSON as in the log, in order\n"
     "  --since-file FILE    the number of the last event that was taken (2xx); made when missing\n"
     "  --secret-file FILE   sign: Postwain-Signature: t=SECONDS,v1=HMAC-SHA256 of SECONDS.BODY\n"
     "  --batch N            at most so many events in one POST (500)\n"
     "  --timeout 30s        of one POST    --ca-file FILE   the authorities of an inner one\n"
     "  --in-clear           permit http:// to other hosts\n"
     "  --once               end when all is sent; three failures end it with exit code 5\n"
     "  FILTER, --event      as for `postwain log`\n"
     "\n"
     "Reads the log like anybody and never touches delivery. What is not answered 2xx is sent\n"
     "again, after 1 s to 1 min or what Retry-After says, for as long as it takes; after a crash "
     "a\n"
     "batch may come twice: go by the events' id. Run it as a service of its own.\n"
     "\n"
     "examples:\n"
     "  postwain forward --url https://example.com/mail-events --since-file /var/lib/pw.seq \\\n"
     "                   --secret-file /etc/postwain/hook.secret --event bounced --event "
     "delivered\n"},
    {"reload", "read the configuration again", verb_plain, NULL,
     "usage: postwain reload [-c FILE]\n"
     "\n"
     "The daemon reads its configuration again. One with an error is refused whole, with the\n"
     "problems as FILE:LINE: message, and the old one stays. Sessions under way are not "
     "disturbed.\n"
     "\n"
     "example:\n"
     "  postwain check && postwain reload\n"},
    {"drain", "stop accepting, go on delivering", verb_plain, NULL,
     "usage: postwain drain [-c FILE]\n"
     "\n"
     "No new mail is taken; what waits goes on being delivered. Before a machine is taken away:\n"
     "\n"
     "example:\n"
     "  postwain drain && postwain status      # until the queue is empty, then: postwain stop\n"},
    {"stop", "stop the daemon", verb_plain, NULL,
     "usage: postwain stop [-c FILE]\n"
     "\n"
     "Ends the daemon gracefully, as SIGTERM does: messages on their way in are finished, what\n"
     "waits stays in the spool.\n"
     "\n"
     "example:\n"
     "  postwain stop\n"},
    {"sendmail", "the classic sendmail command line", verb_sendmail, NULL, SENDMAIL_HELP_TEXT},
    {"mailq", "the queue in sendmail's shape", verb_sendmail, NULL, SENDMAIL_HELP_TEXT},
    {"newaliases", "does nothing", verb_sendmail, NULL, SENDMAIL_HELP_TEXT},
    {"version", "print the version", verb_plain, NULL, "usage: postwain version\n"},
    {"completion", "completion for bash, zsh and fish", verb_completion, NULL,
     "usage: postwain completion bash|zsh|fish\n"
     "\n"
     "Prints what the shell needs to complete verbs, options and values.\n"
     "\n"
     "examples:\n"
     "  eval \"$(postwain completion bash)\"                      # in ~/.bashrc\n"
     "  postwain completion zsh > ~/.zfunc/_postwain             # a folder of $fpath\n"
     "  postwain completion fish > ~/.config/fish/completions/postwain.fish\n"},
    {"help", "this screen", verb_plain, help_options,
     "usage: postwain help [VERB]\n"
     "       postwain help --mdoc [PAGE]\n"
     "\n"
     "--mdoc lists the pages of the manual that are made from these texts and from the program's\n"
     "tables, or prints one.\n"
     "\n"
     "example:\n"
     "  postwain help --mdoc postwain-queue.1 | mandoc -a\n"},
};

static const char overview[] =
    "usage: postwain VERB [OPTION]...\n"
    "\n"
    "An SMTP relay for applications: takes mail on 587 and 465, keeps it safe, carries it to its\n"
    "receivers, and writes down what became of it.\n"
    "\n"
    "  init [DIR]     make a complete working configuration (default /etc/postwain)\n"
    "  check, dkim    validate the configuration and all it names; keys that sign mail\n"
    "  serve          run the relay in the foreground\n"
    "  user           credentials: add, list, remove, password\n"
    "  status, top    one screen: what the relay is doing; the same, live\n"
    "  queue          the mail that waits: list, show, cat, retry, remove, hold, release,\n"
    "                 export, import\n"
    "  client         who connects, fails to log in, is banned: list, ban, allow\n"
    "  destination    where mail goes: list, show, suspend, resume\n"
    "  explain, trace why mail is not there yet, or where it would go; live SMTP dialogues\n"
    "  suppress       who is not sent to: list, add, remove, export, import\n"
    "  spool check    read the mail on disk through, and repair it\n"
    "  log, forward   the delivery log for a person; to a webhook\n"
    "  reload         read the configuration again\n"
    "  drain, stop    stop accepting; stop\n"
    "  sendmail       sendmail's command line, for cron and old programs; mailq: the queue\n"
    "  sink           a receiver for tests: files what comes\n"
    "  completion     for bash, zsh and fish; and: version, help\n"
    "\n"
    "  -c FILE        the configuration (else $POSTWAIN_CONFIG, else /etc/postwain/postwain.conf)\n"
    "  --json         one JSON object a line instead of a table\n"
    "\n"
    "Exit codes: 0 done, 1 nothing matched or problems found, 2 wrong usage, 3 the daemon cannot "
    "be\n"
    "reached, 4 not permitted, 5 done in part, 6 refused by --expect.\n"
    "\n"
    "Start here:  postwain init && postwain user add myapp && postwain serve\n"
    "More:        postwain VERB --help\n";

int cli_help(void)
{
    fputs(overview, stdout);
    return CLI_DONE;
}

static const struct cli_verb *find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* A script that gets half of what it asked for must not take it for all; one that has closed its
 * end knows. */
static int end_of_output(int rc)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    const bool failed = fflush(stdout) != 0;
    const int code = errno;
    if (!failed && !ferror(stdout))
        return rc;
    if ((failed && code == EPIPE) || (poll(&out, 1, 0) > 0 && (out.revents & POLLERR)))
        return rc;
    cli_fail(CLI_PARTLY, "standard output could not be written whole%s%s", failed ? ": " : "",
             failed ? strerror(code) : "");
    return rc == CLI_DONE ? CLI_PARTLY : rc;
}

int cli_run(int argc, char **argv)
{
    MUST(argc >= 1);
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)
        return cli_help();
    const struct cli_verb *v = find(strcmp(argv[0], "--version") == 0 ? "version" : argv[0]);
    if (v && v->run == verb_sendmail) /* it has exit codes of its own, and looks itself */
        return v->run(v, argc, argv);
    if (v)
        return end_of_output(v->run(v, argc, argv));
    cli_fail(CLI_USAGE, "there is no verb %s", argv[0]);
    fputs("Try: postwain --help\n", stderr);
    return CLI_USAGE;
}

/* A row without a help text is a group: it shows its own rows. */
void cli_each_verb(cli_each_fn *each, void *ctx)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        const struct cli_verb *v = &verbs[i];
        char *words[] = {(char *)(uintptr_t)v->name, NULL};
        if (v->help[0]) {
            each(ctx, v, v->summary);
            continue;
        }
        args_show(each, ctx, v->summary);
        v->run(v, 1, words);
        args_show(NULL, NULL, NULL);
    }
    elsewhere_each(each, ctx);
}

static int help_about(int argc, char **argv)
{
    char help[] = "--help";
    const struct cli_verb *elsewhere = argc < 2 ? NULL : elsewhere_find(argv[1]);
    if (argc < 2)
        return cli_help();
    if (elsewhere) {
        fputs(elsewhere->help, stdout);
        return CLI_DONE;
    }
    char *words[] = {argv[1], help, NULL};
    return cli_run(2, words);
}

static int ask_plainly(const struct cli_verb *v, const struct cli_args *a, const char *said)
{
    int rc;
    struct client *c = client_open(a, &rc);
    if (!c)
        return rc;
    json_t *done = NULL;
    rc = client_ask(c, v->name, json_object(), NULL, NULL, &done);
    client_free(c);
    if (rc == CLI_DONE && a->json)
        print_json_line(NULL, done);
    else if (rc == CLI_DONE)
        puts(said);
    json_decref(done);
    return rc;
}

/* The verbs that are one question without arguments, and those that are none. */
int verb_plain(const struct cli_verb *v, int argc, char **argv)
{
    static const struct {
        const char *verb, *said;
    } questions[] = {{"reload", "reloaded"},
                     {"drain", "no new mail is accepted; delivery goes on"},
                     {"stop", "stopping"}};
    struct cli_args a;
    if (strcmp(v->name, "help") == 0 && argc > 1 && argv[1][0] != '-')
        return help_about(argc, argv);
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (args_value(&a, "mdoc"))
        return a.n_words ? manual_page(a.words[0]) : manual_list();
    if (a.n_words)
        return args_wrong(&a, "%s takes no arguments", v->name);
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        if (strcmp(v->name, questions[i].verb) == 0)
            return ask_plainly(v, &a, questions[i].said);
    if (strcmp(v->name, "version") == 0) {
        puts(a.json ? "{\"version\":\"" PW_VERSION "\"}" : "postwain " PW_VERSION);
        return CLI_DONE;
    }
    return cli_help();
}
