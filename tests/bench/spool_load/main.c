/*
 *   bench_spool PART --dir DIR [--messages N] [--size BYTES] [--writers N]
 *                    [--seconds S] [--rounds N]
 *
 * Parts: commit fill keep open drain amplify. DIR should be new for all but keep and open.
 */
#include "tests/bench/spool_load/load.h"
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("bench_spool: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static const struct {
    const char *name;
    void (*run)(const struct options *o);
} parts[] = {{"commit", part_commit}, {"fill", part_fill},   {"keep", part_keep},
             {"open", part_open},     {"drain", part_drain}, {"amplify", part_amplify}};

static void read_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"dir", 1, 0, 'd'},
                                          {"messages", 1, 0, 'n'},
                                          {"size", 1, 0, 'l'},
                                          {"writers", 1, 0, 'w'},
                                          {"seconds", 1, 0, 'T'},
                                          {"rounds", 1, 0, 'r'},
                                          {0, 0, 0, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        unsigned long long number = optarg ? strtoull(optarg, NULL, 10) : 0;
        if (c == 'd')
            o->dir = optarg;
        else if (c == 'n')
            o->messages = number;
        else if (c == 'l')
            o->size = number;
        else if (c == 'w')
            o->writers = (unsigned)number;
        else if (c == 'r')
            o->rounds = (unsigned)number;
        else if (c == 'T')
            o->seconds = strtod(optarg, NULL);
        else
            exit(2);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.messages = 1000, .size = 4096, .writers = 1, .rounds = 3, .seconds = 1};
    read_options(argc, argv, &o);
    const char *name = optind < argc ? argv[optind] : "";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].name, name) == 0) {
            if (!o.dir || !o.messages || !o.writers || !o.rounds || !(o.seconds > 0))
                break;
            parts[i].run(&o);
            return fflush(stdout) == 0 ? 0 : 1;
        }
    fputs("bench_spool: a part and --dir are needed; see the head of main.c\n", stderr);
    return 2;
}
