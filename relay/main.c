/* Arguments -> verb. `serve` and `sink` run in this process; every other verb is the command line's
 * (relay/cli). Under the names of sendmail's family the name is the verb. */
#include "relay/cli/cli.h"
#include "relay/serve.h"
#include "relay/sink/sink.h"
#include <signal.h>
#include <string.h>

/* The last part of the name the program was started by, if that is a verb; else NULL. */
static char *verb_of_name(char *name)
{
    static const char *const names[] = {"sendmail", "mailq", "newaliases"};
    char *slash = name ? strrchr(name, '/') : NULL, *base = slash ? slash + 1 : name;
    for (size_t i = 0; base && i < sizeof names / sizeof *names; i++)
        if (strcmp(base, names[i]) == 0)
            return base;
    return NULL;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    cli_elsewhere("serve", "run the relay in the foreground", serve_help);
    cli_elsewhere("sink", "a receiver for tests: files what comes", sink_help);
    char *named = verb_of_name(argv[0]);
    if (named) {
        argv[0] = named;
        return cli_run(argc, argv);
    }
    const char *verb = argc > 1 ? argv[1] : "--help";
    if (strcmp(verb, "serve") == 0)
        return serve_main(argc - 1, argv + 1);
    if (strcmp(verb, "sink") == 0)
        return sink_main(argc - 1, argv + 1);
    if (argc < 2)
        return cli_help();
    return cli_run(argc - 1, argv + 1);
}
