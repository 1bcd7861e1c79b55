#include "relay/spooler/again.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/spooler/damage.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ONCE = 8 << 20
}; /* bytes of fields; the log asks for the rest when it has written these */

struct again_job {
    struct worker_job job;
    struct spool_again *again;
    struct spooler_again *q;
    bool passes_over;
    uint64_t through;
};

static void run(struct worker_job *j)
{
    struct again_job *job = (struct again_job *)(void *)j;
    const struct spooler_again *q = job->q;
    job->through = spool_again_run(job->again, AT_ONCE, q->each, q->ctx);
    q->end(q->ctx, job->through);
}

void again_request(struct again *a, struct spooler_again *q)
{
    struct again_job *job = must_alloc(sizeof *job);
    job->job.run = run;
    job->job.reply = a->back;
    job->passes_over = a->failures >= AGAIN_TRIES;
    job->again = spool_again_new(a->spool, q->after, q->upto, job->passes_over);
    job->q = q;
    if (!a->worker)
        a->worker = worker_new_patient("again");
    worker_push(a->worker, &job->job);
}

/* The log stands still at what cannot be read: better without these events than without all that
 * follow. */
static void left_out(struct again *a, const struct again_job *job, uint32_t segment, int error)
{
    char line[200];
    snprintf(line, sizeof line,
             "seg-%08" PRIx32 " cannot be read (%s): what it has of events %" PRIu64 " to %" PRIu64
             " is left out of the delivery log",
             segment, strerror(-error), job->q->after + 1, job->q->upto);
    damage_say(a->damage, line);
}

static void judge(struct again *a, const struct again_job *job)
{
    uint32_t segment;
    const int error = spool_again_trouble(job->again, &segment);
    if (error == 0 || job->through > job->q->after) {
        a->failures = 0;
    } else if (a->failures++ == 0) {
        LOG(LV_ERROR, "events_unreadable", LOG_N("segment", segment),
            LOG_S("problem", strerror(-error)), LOG_N("from_seq", job->q->after + 1),
            LOG_S("effect", "the delivery log waits for them a minute, then goes on without"));
    }
    if (error && job->passes_over)
        left_out(a, job, segment, error);
}

void again_back(struct again *a, struct msg *m)
{
    struct again_job *job = (struct again_job *)(void *)m;
    judge(a, job);
    spool_again_free(a->spool, job->again);
    free(job->q);
    free(job);
}

void again_stop(struct again *a)
{
    worker_free(a->worker);
    a->worker = NULL;
}
