/* Folding the segments of a log, oldest first: what opening a spool and checking one have in
 * common. */
#pragma once
#include "queue/fold.h"
#include "queue/segment.h"
#include "queue/spool.h"

struct bad_body { /* of a message that may be gone before the end of the log */
    struct segment *segment;
    uint64_t id, from, to;
};

struct replay {
    const struct file_ops *fs;
    struct fold *fold;
    struct spool_report *report;
    uint32_t salt;
    uint64_t last_record; /* highest record number */
    uint64_t last_batch;  /* where the last good batch of the last segment begins; 0: it has none */
    /* A damaged stretch, or (from == to) what cannot be set aside; `what` is words for a person. */
    void (*damage)(void *ctx, struct segment *g, uint64_t from, uint64_t to, const char *what);
    void *ctx;
    uint64_t torn_from,
        torn_to; /* of the newest segment: whole records behind a tear; 0, 0: none */
    struct bad_body *bad_bodies;
    size_t n_bad_bodies;
};

/* "seg-0000001f: damaged record at 8192, 100 bytes" */
enum { REPLAY_LINE_SIZE = 200 };
void replay_line(char ret[REPLAY_LINE_SIZE], const struct segment *g, uint64_t from, uint64_t to,
                 const char *what);
/* One record of g. False: it cannot be read. */
bool replay_record(struct replay *rp, struct segment *g, const struct record *rec);
/* Folds f into the index, by its footer when it has a good one, and fills g (end, max_seq, ids,
 * has_footer). Negative errno: trouble that is not damage. */
int replay_segment(struct replay *rp, const struct segment_found *f, struct segment *g);
/* Behind the last segment: tells of the damaged bodies of messages that are still there. */
void replay_end(struct replay *rp);
