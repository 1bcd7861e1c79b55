/*
 * The verbs of the program except `serve` and `sink`: each a file here, each a row of the table in
 * cli.c. They talk to the daemon through its control socket (relay/admin/README.md), or read and
 * write files for a person: init, check, user, log.
 */
#pragma once

enum cli_exit { /* what a script sees */
#define X(name, code, words) CLI_##name = (code),
#include "relay/cli/exits.def"
#undef X
};

/* argv[0] is the verb. The exit code of the program; an unknown verb is CLI_USAGE. */
int cli_run(int argc, char **argv);
/* A verb that main runs by another room, told before cli_run; all of it is borrowed. */
void cli_elsewhere(const char *name, const char *summary, const char *help);
/* One screen about all verbs: to standard output, or as an error when nothing was asked. */
int cli_help(void);
