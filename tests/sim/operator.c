/* People: an operator who holds, releases, retries, removes, bounces, expires, redirects and ranks;
 * a clock that is set; a disk that is filled by somebody else. */
#include "relay/base/must.h"
#include "tests/sim/sim.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

static int64_t some(struct sim *s, int64_t us)
{
    return (int64_t)sim_below(s, (uint64_t)us);
}

void operator_plans(struct sim *s)
{
    for (uint64_t n = sim_below(s, 3); n > 0; n--)
        sim_after(s, some(s, 20 * HOUR), T_CLOCK, NULL);
    s->meddles = sim_chance(s, 40);
    for (uint64_t n = sim_chance(s, 50) ? sim_below(s, 12) : 0; n > 0; n--)
        sim_after(s, some(s, sim_chance(s, 70) ? 120 * SECOND : 20 * HOUR), T_OPERATOR, NULL);
}

void operator_sets_clock(struct sim *s)
{
    int64_t by = sim_chance(s, 50) ? DAY : some(s, DAY);
    s->clock_set = true;
    s->set_us += sim_chance(s, 50) ? by : -by;
    sim_say(s, "the clock is set to %+lld s", (long long)(s->set_us / SECOND));
    sim_after(s, some(s, SECOND), T_CORE, NULL); /* the rim looks at it within a second */
    sim_after(s, 5 * SECOND, T_LOOK, NULL);
}

struct spooler_admin *operator_verb(struct sim *s, enum admin_verb v, uint64_t id, const char *to,
                                    const char *route)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = v;
    s->released = s->released || v == ADMIN_RELEASE;
    s->ranked = s->ranked || v == ADMIN_PRIORITY;
    a->filter.to = buf_of(slice_str(to));
    if (id) {
        a->filter.ids = must_alloc(sizeof id);
        a->filter.ids[a->filter.n_ids++] = id;
    }
    a->actor = buf_of(SLICE_LIT("sim"));
    a->limit = 1000; /* more than there can be: one step */
    if (v == ADMIN_PRIORITY)
        a->priority = (int8_t)((int)sim_below(s, 19) - 9);
    if (v == ADMIN_REDIRECT)
        a->route = buf_of(slice_str(route));
    s->broad_out += id == 0;
    if (id == 0)
        words_unknown(s);
    sim_say(s, "operator: verb %d of %s", (int)v, to);
    sim_request(s, &a->msg, SPOOLER_ADMIN);
    return a;
}

static void verb(struct sim *s, enum admin_verb v, const char *to)
{
    operator_verb(s, v, 0, to, sim_chance(s, 60) ? "way" : "");
}

void operator_release_all(struct sim *s)
{
    verb(s, ADMIN_RELEASE, "*");
}

void operator_disk_full(struct sim *s, bool full)
{
    s->full = full;
    core_set_full(s->core, full ? "no room" : NULL);
    if (full)
        sim_after(s, some(s, 600 * SECOND), T_ROOM, NULL);
}

/* For minutes, whatever is written. Body files may stay then until the next start. */
void operator_disk_fails(struct sim *s, bool fails)
{
    static const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EROFS, -EMFILE};
    int error = errors[sim_below(s, sizeof errors / sizeof *errors)];
    fake_disk_fail_from(s->disk, fails ? fake_disk_steps(s->disk) + 1 : 0, error);
    sim_say(s, fails ? "the disk fails: %d" : "the disk works again", error);
    if (!fails)
        return;
    s->disk_touched = true;
    s->doubtful_files = SIM_MESSAGES_MAX;
    sim_after(s, some(s, 600 * SECOND), T_MENDED, NULL);
}

void operator_acts(struct sim *s)
{
    static const char *const patterns[] = {"*", "good*", "slow*", "bad*", "*@d1.test", "author*"};
    const char *pattern = patterns[sim_below(s, sizeof patterns / sizeof *patterns)];
    char one[32];
    snprintf(one, sizeof one, "*%u.*", (unsigned)sim_below(s, s->n_messages + 1));
    switch (sim_below(s, 10)) {
    case 0:
        verb(s, ADMIN_RETRY, pattern);
        break;
    case 1:
        verb(s, ADMIN_HOLD, pattern);
        break;
    case 2:
        verb(s, ADMIN_RELEASE, pattern);
        break;
    case 3:
        verb(s, ADMIN_REMOVE, one);
        break;
    case 4:
        operator_disk_full(s, true);
        break;
    case 5:
        verb(s, ADMIN_BOUNCE, one);
        break;
    case 6:
        verb(s, ADMIN_EXPIRE, one);
        break;
    case 7:
        verb(s, ADMIN_PRIORITY, pattern);
        break;
    case 8:
        verb(s, ADMIN_REDIRECT, pattern);
        break;
    default:
        operator_release_all(s);
    }
    if (sim_chance(s, 60))
        sim_after(s, some(s, 8 * HOUR), T_OPERATOR, NULL);
}
