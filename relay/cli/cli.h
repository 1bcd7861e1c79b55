/*
 * The verbs of the program except `serve` and `sink`: each a file here, each a row of the table in
 * cli.c. They talk to the daemon through its control socket (relay/admin/README.md), or read and
 * write files for a person: init, check, user, log.
 */
#pragma once

enum cli_exit { /* what a script sees */
                CLI_DONE = 0,
                CLI_NOTHING = 1, /* nothing matched, or the check found problems, or it failed */
                CLI_USAGE = 2,
                CLI_UNREACHABLE = 3, /* the daemon */
                CLI_DENIED = 4,
                CLI_PARTLY = 5,
                CLI_UNEXPECTED = 6 /* --expect */
};

/* argv[0] is the verb. The exit code of the program; an unknown verb is CLI_USAGE. */
int cli_run(int argc, char **argv);
/* One screen about all verbs: to standard output, or as an error when nothing was asked. */
int cli_help(void);
