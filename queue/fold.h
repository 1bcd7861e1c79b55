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
    /* Ids of the messages whose MESSAGE record (or youngest copy) is here, n_live of them; the
     * others have left (their `home` is not this), and are taken out when they are more than half.
     */
    uint64_t *ids;
    size_t n_ids, cap_ids, n_live;
    size_t n_gone;               /* the first so many are known to have left */
    uint64_t live_bytes;         /* of the records of those that are here */
    uint64_t size, end, max_seq; /* of the file; of its log; highest event seq in it, 0 = none */
    uint32_t number, pins;       /* pins: reads under way */
    int fd;                      /* open for writing, or -1 */
    uint64_t written_to;         /* so far its space has been written: batch_write.c */
    bool keep;                   /* has damage that could not be copied to quarantine */
    bool evacuate;               /* its disk failed: what lives there is to be copied elsewhere */
    uint8_t eio_tries;           /* how often a copy's source could not be read */
    bool has_footer;             /* a good one */
    bool no_footer;              /* it gets none now */
    bool end_unsure;       /* its log may have gone on behind `end`: nothing is written there */
    uint64_t footer_bytes; /* by so much its footer made the file larger */
};

struct fold {
    struct index index;
    struct intern strings, verdicts;
    struct intern replies; /* struct last_reply of these: a verdict with the host it came from */
    uint64_t recipients;   /* of all messages */
    uint64_t live_bytes;   /* of the live messages' records */
    uint64_t file_bytes;   /* of their body files */
    uint64_t last_id, last_seq;
    uint64_t message_memory, home_memory; /* bytes: of the messages; of the segments' lists */
};

void fold_done(struct fold *f);
/* Bytes of memory that all this takes. */
uint64_t fold_memory(const struct fold *f);
/* Each returns the message, or NULL: malformed, or (state) no such message, which is ordinary:
 * *ret_bad tells. The message is not removed here when nothing is left of it: see fold_remove. */
struct message *fold_message(struct fold *f, const struct message_record *r);
struct message *fold_state(struct fold *f, const struct state_record *r, bool *ret_bad);
/* Its MESSAGE record lies in s now, from `at` on. */
void fold_home(struct fold *f, struct message *m, struct segment *s, uint64_t at,
               uint64_t record_bytes);
/* The next of s's messages from place *at on (0: the first), which moves on; NULL at the end. */
struct message *fold_next_home(struct fold *f, struct segment *s, size_t *at);
void fold_remove(struct fold *f, struct message *m);
/* A DSN is stored that reports what is due of message `about`; `delay`: also a delay. */
void fold_told(struct fold *f, uint64_t about, bool delay, uint64_t rcpt);
/* Sets or clears dsn_due of one recipient (a DSN was stored, or its storing failed). */
void fold_dsn_due(struct recipient *r, bool due);
/* The segment is forgotten: what it has in memory goes. */
void fold_segment_done(struct fold *f, struct segment *s);
