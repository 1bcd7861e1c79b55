/* sim [--seeds N] [--seed K] [-v]: runs seeds 1 … N, or K alone; prints the seed of a run that
 * broke a law. */
#include "tests/sim/sim.h"
#include <stdlib.h>
#include <string.h>

static bool number(const char *text, uint64_t *ret)
{
    return text && slice_u64(slice_str(text), UINT32_MAX, ret);
}

static int usage(void)
{
    fputs("usage: sim [--seeds N] [--seed K] [-v]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = 20, failed = 0;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && number(argv[i + 1], &last)) {
            i++;
        } else if (strcmp(argv[i], "--seed") == 0 && number(argv[i + 1], &first)) {
            last = first;
            i++;
        } else {
            return usage();
        }
    }
    for (uint64_t seed = first; seed <= last; seed++) {
        if (!sim_run(seed, verbose)) {
            printf("seed %llu broke a law: sim --seed %llu -v\n", (unsigned long long)seed,
                   (unsigned long long)seed);
            failed++;
        }
    }
    printf("%llu seeds, %llu failed\n", (unsigned long long)(last - first + 1),
           (unsigned long long)failed);
    return failed ? 1 : 0;
}
