/* Where the drawing of queue ids goes on (spooler_new_id: by any thread). */
#pragma once
#include <stdint.h>

void ids_start_above(uint64_t id);
