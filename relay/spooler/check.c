#include "relay/spooler/check.h"
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include <errno.h>
#include <stdlib.h>

enum { PATIENCE_MS = 60 * 1000 };
enum { LINES_MAX = 4 << 20 }; /* of one step; the rest is in the count */

struct check_job {
    struct worker_job job;
    struct spooler_check *q;
    bool more;
};

static void add_line(void *ctx, const char *line)
{
    struct spooler_check *q = ctx;
    const size_t n = strlen(line) + 1;
    if (q->lines.n + n > q->lines.max)
        return;
    buf_add_str(&q->lines, line);
    buf_add_u8(&q->lines, '\n');
}

static void run_step(struct worker_job *j)
{
    struct check_job *job = (struct check_job *)(void *)j;
    job->more = spool_check_step(job->q->check, add_line, job->q);
}

static void push_step(struct checker *c, struct spooler_check *q)
{
    struct check_job *job = must_alloc(sizeof *job);
    job->job.run = run_step;
    job->job.reply = c->back;
    job->q = q;
    if (!c->worker)
        c->worker = worker_new_patient("check");
    worker_push(c->worker, &job->job);
}

static void end(struct checker *c, struct spooler_check *q)
{
    spool_check_free(c->spool, q->check, add_line, q, &q->report);
    q->check = NULL;
    q->over = true;
    c->busy = false;
    c->waiting = NULL;
}

void checker_request(struct checker *c, struct spooler_check *q)
{
    q->lines.max = LINES_MAX;
    buf_reset(&q->lines);
    if (q->give_up) {
        if (q->check)
            end(c, q);
        spooler_request_free(&q->msg);
    } else if (!q->check && c->busy) {
        q->error = -EBUSY;
        q->over = true;
        port_send(q->reply, &q->msg);
    } else {
        if (!q->check)
            q->check = spool_check_new(c->spool, q->repair);
        c->busy = true;
        c->waiting = NULL;
        push_step(c, q);
    }
}

void checker_back(struct checker *c, struct msg *m, struct mono now)
{
    struct check_job *job = (struct check_job *)(void *)m;
    struct spooler_check *q = job->q;
    c->waiting = q->check;
    c->since = now;
    if (!job->more)
        end(c, q);
    free(job);
    port_send(q->reply, &q->msg);
}

void checker_look(struct checker *c, struct mono now)
{
    if (c->waiting && mono_reached(mono_add(c->since, PATIENCE_MS), now))
        spool_check_release(c->spool, c->waiting);
}

void checker_stop(struct checker *c)
{
    if (c->worker)
        worker_free(c->worker);
    c->worker = NULL;
}
