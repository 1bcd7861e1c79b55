/*
 * The disk in trouble. After a batch that failed, done-marks wait to be written again; what was
 * delivered now could not be marked and would be delivered again after a crash. So no attempt
 * begins until a batch has ended well, and new mail is refused with the disk's own error. A batch
 * that is out for too long counts the same. What is with connections ends as it does.
 */
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <stdio.h>
#include <string.h>

void trouble_batch_taken(struct core *c)
{
    c->disk.taken = c->mono;
    c->disk.taken_wall = c->now;
}

static void begin(struct core *c, int error, const char *what)
{
    char reason[100];
    if (c->disk.failures == 0)
        c->disk.since = c->now;
    c->disk.error = error;
    snprintf(c->disk.text, sizeof c->disk.text, "%.90s: %s", what,
             strerror_r(-error, reason, sizeof reason));
}

void trouble_batch_done(struct core *c, int rc, const struct err *e)
{
    if (rc >= 0) {
        c->disk.failures = 0;
        return;
    }
    begin(c, rc, e->text);
    c->disk.failures++;
    /* The first failure is tried again at once, in a fresh segment; a disk that keeps failing is
     * not beaten. */
    if (c->disk.failures > 1)
        c->batch_not_before = mono_add(c->mono, CORE_WRITE_AGAIN_MS);
    /* An empty record, so that the end of the trouble is noticed when nothing else waits. */
    if (spool_durable(c->spool) >= c->last_number)
        c->last_number = spool_note(c->spool, c->now, NULL, 0);
}

static bool is_stuck(const struct core *c)
{
    return c->batch_out && mono_reached(mono_add(c->disk.taken, CORE_STUCK_MS), c->mono);
}

bool trouble_is(const struct core *c)
{
    return c->disk.failures > 0 || is_stuck(c);
}

/* Notes (refusals above all) are wanted, but not without end: in memory, or where only room for
 * done-marks is left. */
bool trouble_takes_note(struct core *c)
{
    if (!trouble_is(c) && core_accepting(c) == 0) {
        c->disk.notes = 0;
        return true;
    }
    return c->disk.notes++ < CORE_TROUBLE_NOTES_MAX;
}

const char *trouble_no_room(int64_t bytes, int64_t files, uint64_t min_bytes, bool was_full)
{
    enum { MIN_FREE_FILES = 100 };
    /* What was full has room again with a little more than that: no flapping. */
    const uint64_t wanted = min_bytes + (was_full ? min_bytes / 16 : 0);
    if (bytes >= 0 && (uint64_t)bytes < wanted)
        return "the spool's disk has less room than spool.min-free";
    if (files >= 0 && files < MIN_FREE_FILES)
        return "the spool's disk has hardly an inode left";
    return NULL;
}

int core_accepting(const struct core *c)
{
    if (c->disk.failures > 1)
        return c->disk.error;
    return c->full ? -ENOSPC : spool_room(c->spool);
}

/* No spare segment: looked after once a second, until there is room. */
void trouble_look(struct core *c)
{
    if (spool_room(c->spool) == 0) {
        c->room_again = MONO_NEVER;
    } else if (c->room_again.ms == MONO_NEVER.ms) {
        c->room_again = mono_add(c->mono, CORE_WRITE_AGAIN_MS);
    } else if (mono_reached(c->room_again, c->mono)) {
        spool_room_again(c->spool);
        c->room_again = mono_add(c->mono, CORE_WRITE_AGAIN_MS);
    }
}

void core_disk(const struct core *c, struct spooler_disk *ret)
{
    *ret = (struct spooler_disk){.full = c->full};
    if (!c->full && spool_room(c->spool) < 0)
        ret->full = "the spool's disk has no room for another segment";
    if (c->disk.failures > 0) {
        ret->since = c->disk.since;
        snprintf(ret->error, sizeof ret->error, "%s", c->disk.text);
    } else if (is_stuck(c)) {
        ret->since = c->disk.taken_wall;
        snprintf(ret->error, sizeof ret->error, "the disk does not answer");
    }
}

void core_weight(const struct core *c, uint64_t *ret_messages, uint64_t *ret_memory)
{
    struct spool_counts n;
    spool_count(c->spool, &n);
    *ret_messages = n.messages;
    *ret_memory = spool_memory(c->spool) + c->fresh_bytes;
}
