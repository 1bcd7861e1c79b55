/* `postwain serve`: configuration -> recovery -> threads -> run -> drain. The only place that knows
 * every room. */
#pragma once

/* argv[0] is the verb. Returns the exit code. */
int serve_main(int argc, char **argv);
extern const char serve_help[];
