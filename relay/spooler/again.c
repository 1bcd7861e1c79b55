#include "relay/spooler/again.h"
#include "relay/base/must.h"
#include <stdlib.h>

enum {
    AT_ONCE = 8 << 20
}; /* bytes of fields; the log asks for the rest when it has written these */

struct again_job {
    struct worker_job job;
    struct spool_again *again;
    struct spooler_again *q;
};

static void run(struct worker_job *j)
{
    struct again_job *job = (struct again_job *)(void *)j;
    const struct spooler_again *q = job->q;
    q->end(q->ctx, spool_again_run(job->again, AT_ONCE, q->each, q->ctx));
}

void again_request(struct again *a, struct spooler_again *q)
{
    struct again_job *job = must_alloc(sizeof *job);
    job->job.run = run;
    job->job.reply = a->back;
    job->again = spool_again_new(a->spool, q->after, q->upto);
    job->q = q;
    if (!a->worker)
        a->worker = worker_new_patient("again");
    worker_push(a->worker, &job->job);
}

void again_back(struct again *a, struct msg *m)
{
    struct again_job *job = (struct again_job *)(void *)m;
    spool_again_free(a->spool, job->again);
    free(job->q);
    free(job);
}

void again_stop(struct again *a)
{
    worker_free(a->worker);
    a->worker = NULL;
}
