/*
 * Segments on disk: names, header blocks, the chain they form, and the reader that walks the
 * records of one and passes over damage. Used by recovery, replay of events and verify alike. Reads
 * only (segment_header_write fills memory).
 */
#pragma once
#include "queue/file.h"
#include "queue/record.h"
#include "relay/base/err.h"

#define SEGMENT_HEADER_BLOCK 4096u
#define SEGMENT_DATA (2 * SEGMENT_HEADER_BLOCK)
#define SEGMENT_SECTOR 512u
#define SEGMENT_BYTES_DEFAULT (64u * 1024 * 1024)
#define SEGMENT_BYTES_MAX (1024u * 1024 * 1024)
#define SEGMENT_NAME_SIZE 64

static inline uint64_t segment_sector_up(uint64_t x)
{
    return (x + SEGMENT_SECTOR - 1) & ~(uint64_t)(SEGMENT_SECTOR - 1);
}

struct segment_header {
    uint32_t number, salt, prev;
    uint64_t prev_end, id_high, seq_high, number_high;
};

void segment_name(char ret[SEGMENT_NAME_SIZE], const char *kind,
                  uint32_t number); /* "seg", "free" */
/* Both copies: fills SEGMENT_DATA bytes. */
void segment_header_write(uint8_t *p, const struct segment_header *h);

/* One segment file as found. */
struct segment_found {
    uint32_t number;     /* of the segment: what its header says, else what its name says */
    uint32_t named;      /* of the file; another one when it was renamed */
    bool header_ok;      /* one copy at least is good */
    bool header_bad[2];  /* this copy is not */
    bool before_missing; /* older ones are there, but not the one that this one follows */
    struct segment_header header;
    uint64_t size;  /* of the file */
    uint64_t end;   /* where its log ends; UINT64_MAX: unknown, the newest */
    bool cut_short; /* the file ends before its log does */
};

/* A seg-* file that is not part of the log and is not to be removed, either. */
struct segment_stray {
    uint32_t named, number; /* number == named: nothing names it, and its header is damaged; else
                               a duplicate of the segment `number` */
    bool stays;             /* it could not be set aside */
};

/* The log as found: segments from the oldest to the newest, and names that are not part of it. */
struct log_found {
    struct segment_found *segments;
    size_t n;
    struct segment_stray *strays;
    size_t n_strays;
    uint32_t *disowned; /* seg-* that no successor names: leftovers of a failed making */
    size_t n_disowned;
    uint32_t *spares; /* free-* */
    size_t n_spares;
    uint32_t salt;        /* 0: none known (an empty spool) */
    uint32_t last_number; /* highest segment number seen under any name */
};
/* Reads the headers of the file s->named; -EPROTO: another format version. */
int segment_find(const struct file_ops *fs, struct segment_found *s, struct err *e);
/* -EPROTO: another format version. Damaged headers are not failures. */
int log_find(const struct file_ops *fs, struct log_found *ret, struct err *e);
void log_found_done(struct log_found *l);

/* --- reading one segment's records
 * ------------------------------------------------------------------------------------ */

struct segment_reader {
    const struct file_ops *fs;
    int fd;
    uint32_t segment, salt;
    uint64_t limit;       /* nothing at or behind it counts */
    bool newest;          /* the end is unknown and may be torn; bodies are checked then */
    bool check_bodies;    /* check them anyway */
    uint64_t at;          /* the next record is looked for here */
    uint64_t last_number; /* of the last record seen */
    uint8_t *window;
    size_t window_cap, window_n;
    uint64_t window_at;
    bool proof_known;
    uint64_t proof; /* newest: highest batch offset of any good record behind; */
    /* results, cumulated */
    uint64_t torn_bytes; /* newest: bytes dropped at the torn tail */
    uint64_t torn_to;    /* newest: end of the last good record behind the tear; 0: none */
    void (*damage)(void *ctx, uint64_t from, uint64_t to); /* may be NULL */
    void *ctx;
    int error; /* trouble that is not damage */
};

struct record {
    struct record_header header;
    uint64_t offset;   /* of the header in the segment */
    struct slice head; /* borrowed until the next call */
    bool body_bad;
};

int segment_reader_init(struct segment_reader *r, const struct file_ops *fs,
                        const struct segment_found *s, uint32_t salt);
/* 1: *ret; 0: the end (r->at: where the log ends); negative errno: trouble. */
int segment_reader_next(struct segment_reader *r, struct record *ret);
void segment_reader_done(struct segment_reader *r);
