/* Housekeeping that takes long: the owner says what, a helper does it, the owner draws the
 * conclusions. */
#include "queue/task.h"
#include "relay/base/must.h"

/* In the order of their claims: room on the disk first. */
static const struct {
    struct spool_task *(*take)(struct spool *s);
    void (*run)(struct spool_task *task);
    bool (*end)(struct spool *s, struct spool_task *task);
} kinds[] = {
    [TASK_SWEEP] = {sweep_take, sweep_run, sweep_end},
    [TASK_COPY] = {copy_take, copy_run, copy_end},
    [TASK_FOOTER] = {footer_take, footer_run, footer_end},
};

struct spool_task *spool_task_take(struct spool *s, bool in_trouble)
{
    struct spool_task *task = NULL;
    size_t n = in_trouble ? TASK_SWEEP + 1 : sizeof kinds / sizeof *kinds;
    for (size_t i = 0; i < n && !s->task_out && !task; i++) {
        task = kinds[i].take(s);
        if (task)
            task->kind = (enum task_kind)i;
    }
    s->task_out = s->task_out || task;
    return task;
}

void spool_task_run(struct spool_task *task)
{
    kinds[task->kind].run(task);
}

bool spool_task_end(struct spool *s, struct spool_task *task)
{
    MUST(s->task_out);
    s->task_out = false;
    return kinds[task->kind].end(s, task);
}
