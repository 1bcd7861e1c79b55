/* Where to begin in a file of the delivery log. */
#pragma once
#include "relay/base/clock.h"
#include <stdint.h>

/* The offset of a line's beginning, such that every line before it is older than `since`: by
 * halves, because lines stand in the order of their times; some 50 small reads, whatever the size.
 * 0 where it cannot be told. After the clock was set back it may be too late: whoever looks for
 * something that is missing then has to say so. */
uint64_t log_seek(int fd, uint64_t size, struct wall since);
/* The beginning of the first line at or behind `at`; size: there is none. */
uint64_t log_seek_line(int fd, uint64_t size, uint64_t at);
