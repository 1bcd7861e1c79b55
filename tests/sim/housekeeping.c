/* "spool check" beside everything else, and damage that must cost nothing. */
#include "queue/segment.h"
#include "relay/base/must.h"
#include "tests/sim/sim.h"

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)

void check_plans(struct sim *s)
{
    for (uint64_t n = sim_chance(s, 60) ? 1 + sim_below(s, 4) : 0; n > 0; n--)
        sim_after(s, (int64_t)sim_below(s, (uint64_t)(sim_chance(s, 70) ? 120 * SECOND : HOUR)),
                  T_CHECK, NULL);
}

static void step_later(struct sim *s)
{
    sim_after(s, (int64_t)sim_below(s, (uint64_t)(30 * MS)), T_CHECK_STEP, NULL);
}

void check_begins(struct sim *s)
{
    if (s->check)
        return;
    bool repair = sim_chance(s, 50);
    sim_say(s, "a check%s begins", repair ? " with repair" : "");
    s->check = spool_check_new(s->spool, repair);
    step_later(s);
}

/* Whoever damaged something, or let the disk fail, may be told of it; nobody else. */
static void on_finding(void *ctx, const char *line)
{
    struct sim *s = ctx;
    sim_say(s, "the check says: %s", line);
    if (!s->disk_touched && !s->dying)
        sim_fail(s, "a check finds what nobody did: %s", line);
}

/* True: the disk is still there. */
bool check_goes_on(struct sim *s)
{
    bool more = spool_check_step(s->check, on_finding, s);
    if (fake_disk_is_cut(s->disk))
        return false;
    if (more)
        step_later(s);
    else
        check_ends(s);
    return true;
}

void check_ends(struct sim *s)
{
    struct spool_counts n;
    struct spool_report report;
    if (!s->check)
        return;
    spool_count(s->spool, &n);
    spool_check_free(s->spool, s->check, on_finding, s, &report);
    s->check = NULL;
    if (report.messages != n.messages)
        sim_fail(s, "a check sees %llu messages of %llu", (unsigned long long)report.messages,
                 (unsigned long long)n.messages);
}

/* While the power is off, a byte of one copy of a header turns: the other copy is there. */
void check_damages(struct sim *s)
{
    char name[SEGMENT_NAME_SIZE];
    if (s->damaged || !sim_chance(s, 20))
        return;
    uint32_t from = 1 + (uint32_t)sim_below(s, 20);
    for (uint32_t i = 0; i < 40 && !s->damaged; i++) {
        segment_name(name, "seg", from + i);
        s->damaged = fake_disk_flip(s->disk, name, sim_below(s, SEGMENT_DATA), 1);
    }
    s->disk_touched = s->disk_touched || s->damaged;
    if (s->damaged)
        sim_say(s, "a header copy of %s is damaged", name);
}
