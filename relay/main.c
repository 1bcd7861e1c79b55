/* Arguments -> verb. `serve` and `sink` run in this process; every other verb is the command line's
 * (relay/cli). */
#include "relay/cli/cli.h"
#include "relay/serve.h"
#include "relay/sink/sink.h"
#include <signal.h>
#include <string.h>

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    const char *verb = argc > 1 ? argv[1] : "--help";
    if (strcmp(verb, "serve") == 0)
        return serve_main(argc - 1, argv + 1);
    if (strcmp(verb, "sink") == 0)
        return sink_main(argc - 1, argv + 1);
    if (argc < 2)
        return cli_help();
    return cli_run(argc - 1, argv + 1);
}
