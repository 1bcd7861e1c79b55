/* `postwain sink`: a real receiver for tests and demonstrations. It takes what comes on its ports
 * and files it in a Maildir. */
#pragma once

/* argv[0] is "sink". Returns the exit code: 0 done, 1 it could not start, 2 wrong usage. */
int sink_main(int argc, char **argv);
extern const char sink_help[];
