#include "relay/spooler/marks.h"
#include <errno.h>
#include <stddef.h>

static bool is_above(bool was, uint64_t now, uint64_t max)
{
    if (max == 0)
        return false;
    return now >= (was ? max - max / 10 : max);
}

bool marks_look(struct marks *m, const struct marks_conf *c, uint64_t messages, uint64_t memory)
{
    const struct marks before = *m;
    m->messages = is_above(m->messages, messages, c->max_messages);
    m->memory = is_above(m->memory, memory, c->max_memory);
    return m->messages != before.messages || m->memory != before.memory;
}

int marks_error(const struct marks *m)
{
    return m->messages ? -EXFULL : m->memory ? -ENOBUFS : 0;
}

const char *marks_why(const struct marks *m)
{
    return m->messages ? "the queue holds as many messages as spool.max-messages allows"
           : m->memory ? "queue, content on its way and sessions take the memory that "
                         "spool.max-memory allows"
                       : NULL;
}
