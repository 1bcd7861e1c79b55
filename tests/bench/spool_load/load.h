/*
 * bench_spool: the spool under load, in one process: the real spooler (its threads, its helpers,
 * its files) without sockets. Each part prints one JSON object; tests/bench/spool runs them and
 * judges. In: a folder on the file system to be measured. Nothing here is tuned for the bench: what
 * is written and synced is what the daemon writes and syncs.
 */
#pragma once
#include "relay/spooler/spooler.h"
#include <stdatomic.h>

struct options {
    const char *dir;         /* made when missing; must be empty or a spool */
    uint64_t messages, size; /* how many, and the bytes of a body */
    unsigned writers, rounds;
    double seconds; /* of a turn */
};

void part_commit(const struct options *o);
void part_fill(const struct options *o);
/* What the keeper would have done meanwhile. */
void part_keep(const struct options *o);
void part_open(const struct options *o);
void part_drain(const struct options *o);
void part_amplify(const struct options *o);

/* --- count.c: what the process asked of the kernel, and times */

struct io_count { /* through pwrite, fdatasync and fsync; and by /proc/self/io */
    uint64_t writes, bytes, syncs, disk_bytes;
};
struct io_count io_now(void);
struct io_count io_since(struct io_count before);

/* When the newest pwrite began and the newest fdatasync ended. */
void last_commit(double *ret_begun, double *ret_ended);

double seconds_now(void);

struct series { /* of durations in ms; one thread adds */
    float *at;
    size_t n, cap;
};
void series_add(struct series *s, double ms);
/* 0 <= part <= 1; sorts; 0 when there is none. */
double series_part(struct series *s, double part);
void series_done(struct series *s);

/* --- mail.c: mail as it is in life */

#define MAIL_DOMAINS 5000
#define MAIL_SENDERS 100
struct mail { /* an envelope and the room for its strings; stays in place */
    char sender[32], address[32], message_id[64], session[32];
    struct envelope_rcpt rcpt;
    struct envelope envelope;
};
/* Message i: a sender of 18 bytes, one recipient of 25, a Message-ID of 45. */
void mail_make(struct mail *m, uint64_t i, uint64_t size);
struct body *mail_body(uint64_t size);
/* The receiver's answer for the domain of message i: "250 … queued as", or a 4xx. Free with
 * verdict_done. */
struct verdict mail_delivered(uint64_t i);
struct verdict mail_deferred(uint64_t i);
/* Where it went. */
void mail_attempt(struct attempt *a, uint64_t i);

/* --- fill.c */

struct fill {
    struct file_ops *fs;
    struct spool *spool;
};
/* Ends the program when it cannot. */
void fill_open(struct fill *f, const char *dir);
void fill_close(struct fill *f);
/* So many messages, each tried once and deferred for hours. */
void fill_messages(struct fill *f, uint64_t n, uint64_t size);
/* Everything appended is durable when it returns; bodies leave memory. */
void fill_flush(struct fill *f);

/* --- house.c: the spooler, its clients and its deliveries */

struct house;
/* deliver: everything is taken by the next hop at once; else nobody asks where it goes. */
struct house *house_new(const char *dir, bool deliver);
void house_free(struct house *h);
struct turn { /* of writers, each with one message out at a time */
    unsigned writers;
    uint64_t size;
    double seconds;    /* how long; 0: until `messages` */
    uint64_t messages; /* 0: no limit */
};
struct turn_result {
    uint64_t stored;
    double seconds; /* until the last answer (and the last delivery) */
    struct io_count io;
    struct series answers; /* ms; free with turn_result_done */
    /* Of them, with one writer: until the write begins, until the sync has ended, from then on. */
    struct series before, during, after;
};
struct turn_result house_turn(struct house *h, const struct turn *t);
void turn_result_done(struct turn_result *r);

/* Prints to standard error, exits 1. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
