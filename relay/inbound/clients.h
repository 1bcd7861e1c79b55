/* How many sessions each client address and each listener has open: shared by the loops, behind its
 * own lock. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct clients;
struct clients *clients_new(void);
void clients_free(struct clients *c);
/* Counts one more; false (and not counted) when either limit would be passed. 0 = no limit. */
bool clients_enter(struct clients *c, const char *ip, size_t listener, unsigned max_per_client,
                   unsigned max_per_listener);
void clients_leave(struct clients *c, const char *ip, size_t listener);
unsigned clients_total(struct clients *c);
