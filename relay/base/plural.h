/* The s behind a count, wherever one is said: "1 message", "2 messages", "0 messages". */
#pragma once
#include <stdint.h>

static inline const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}
