#include "relay/spooler/ids.h"
#include "queue/id.h"
#include "relay/spooler/spooler.h"
#include <stdatomic.h>

static _Atomic uint64_t last_id;

uint64_t spooler_new_id(struct wall now)
{
    return queue_id_draw(&last_id, now);
}

void ids_start_above(uint64_t id)
{
    uint64_t last = atomic_load(&last_id);
    while (last < id && !atomic_compare_exchange_weak(&last_id, &last, id))
        continue;
}
