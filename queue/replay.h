/* Folding the segments of a log, oldest first: what opening a spool and checking one have in
 * common. */
#pragma once
#include "queue/fold.h"
#include "queue/segment.h"
#include "queue/spool.h"

struct replay {
    const struct file_ops *fs;
    struct fold *fold;
    struct spool_report *report;
    uint32_t salt;
    bool check_bodies;
    uint64_t last_record; /* highest record number */
    uint64_t last_batch;  /* where the last good batch of the last segment begins; 0: it has none */
    /* A damaged stretch, or (from == to) what cannot be set aside; `what` is words for a person. */
    void (*damage)(void *ctx, struct segment *g, uint64_t from, uint64_t to, const char *what);
    void *ctx;
    uint64_t torn_from,
        torn_to; /* of the newest segment: whole records behind a tear; 0, 0: none */
};

/* "seg-0000001f: damaged record at 8192, 100 bytes" */
enum { REPLAY_LINE_SIZE = 200 };
void replay_line(char ret[REPLAY_LINE_SIZE], const struct segment *g, uint64_t from, uint64_t to,
                 const char *what);
/* Folds f into the index and fills g (end, max_seq, homes). Negative errno: trouble that is not
 * damage. */
int replay_segment(struct replay *rp, const struct segment_found *f, struct segment *g);
