/*
 * The index as the fold of records: the one place that says what a record does. A live change is
 * encoded first and then folded from its own bytes, so that memory and log cannot differ. Used by
 * spool (live), recover and verify.
 */
#pragma once
#include "queue/index.h"
#include "queue/intern.h"
#include "queue/record.h"

/* A segment as the index knows it. */
struct segment {
    struct segment *prev, *next; /* oldest first */
    struct held *homes;          /* live messages whose MESSAGE record (or youngest copy) is here */
    uint64_t size, end, max_seq; /* of the file; of its log; highest event seq in it, 0 = none */
    uint32_t number, pins;       /* pins: reads under way */
    int fd;                      /* open for writing, or -1 */
    bool keep;                   /* has damage that could not be copied to quarantine */
    bool evacuate;               /* its disk failed: what lives there is to be copied elsewhere */
    uint8_t eio_tries;           /* how often a copy's source could not be read */
    bool has_footer;             /* a good one */
    bool no_footer;              /* it gets none now */
};

/* A message with the spool's bookkeeping. */
struct held {
    struct message message; /* first: users hold this pointer */
    struct segment *home;   /* NULL: not durable yet */
    struct held *prev, *next;
    uint64_t last_append;                       /* number of the last append that speaks of it */
    uint32_t body_crc, record_at, record_bytes; /* where its record lies in home */
    bool copying;                               /* a copy is on its way to the log */
};
static inline struct held *held_of(struct message *m)
{
    return (struct held *)(void *)m;
}

struct fold {
    struct index index;
    struct intern strings, verdicts;
    uint64_t recipients; /* of all messages */
    uint64_t live_bytes; /* of the live messages' records */
    uint64_t file_bytes; /* of their body files */
    uint64_t last_id, last_seq;
};

void fold_done(struct fold *f);
/* Each returns the message, or NULL: malformed, or (state) no such message, which is ordinary:
 * *ret_bad tells. The message is not removed here when nothing is left of it: see fold_remove. */
struct held *fold_message(struct fold *f, const struct message_record *r);
struct held *fold_state(struct fold *f, const struct state_record *r, bool *ret_bad);
/* Its MESSAGE record lies in s now. */
void fold_home(struct fold *f, struct held *h, struct segment *s, uint64_t at, uint64_t bytes);
void fold_remove(struct fold *f, struct held *h);
/* A DSN is stored that reports the failures of message `about`. */
void fold_told(struct fold *f, uint64_t about);
/* Sets or clears dsn_due of one recipient (a DSN was stored, or its storing failed). */
void fold_dsn_due(struct recipient *r, bool due);
