/* The inside of struct spool, shared by the files of the spool (README.md); nobody else includes
 * this. */
#pragma once
#include "queue/fold.h"
#include "queue/segment.h"
#include "queue/spool.h"

/* A record on its way to the log. */
struct pending {
    struct pending *next;
    uint64_t number; /* what its append returned */
    enum record_type type;
    bool copy; /* MESSAGE made by compaction */
    uint32_t n_events, events_at, head_n;
    struct message *message;      /* MESSAGE, STATE; NULL otherwise */
    struct body *body;            /* inline content, a reference of our own */
    struct message *told;         /* DSN: the message whose failures it marked … */
    uint32_t *told_rcpts, n_told; /* … these, to be unmarked when it fails … */
    bool told_delay;              /* … and that its sender knows of a delay */
    struct segment *home;         /* placed: where */
    uint64_t offset, record_number;
    uint8_t head[];
};

struct pending_list {
    struct pending *first, *last;
};
void pending_push(struct pending_list *l, struct pending *p);
struct pending *pending_shift(struct pending_list *l);
void pending_free(struct pending *p);

/* What a batch writes to one segment. */
struct chunk {
    struct segment *segment;
    bool make; /* the segment is to be made first */
    struct segment_header header;
    uint64_t offset, n;
    struct pending_list records;
    uint64_t seq_before;
};

enum { BATCH_CHUNKS = 8 };
#define BATCH_BYTES (16u * 1024 * 1024)

/* Owner fills it, the helper runs it, owner ends it: nothing in it is touched by two threads at
 * once. */
struct spool_batch {
    const struct file_ops *fs;
    struct chunk chunks[BATCH_CHUNKS];
    size_t n_chunks, n_done;
    int error;
    const char *what; /* failed */
    bool named;       /* the last segment made had its name */
    uint32_t spare;   /* number of the spare segment file; 0 = none */
    uint64_t spare_bytes;
    bool spare_worn; /* it was a segment before: all of its space has been written */
    bool want_spare;
    int no_spare;          /* why none could be made */
    uint32_t spare_number; /* the number a new spare would get */
    uint64_t segment_bytes;
    struct segment *free; /* the oldest of those that are to be freed, or NULL */
    bool freed, recycled; /* it was; it is the spare now */
    struct buf bytes;     /* what is written, kept from batch to batch */
};

struct id_list {
    uint64_t *at;
    size_t n;
};

struct spool {
    const struct file_ops *fs;
    struct fold fold;
    int lock_fd;
    int64_t lifetime_s;
    uint64_t segment_bytes;
    char *node;
    void (*say)(void *ctx, const char *line); /* of damage */
    void *say_ctx;
    uint32_t salt;
    uint32_t last_segment;    /* highest number ever tried */
    struct segment *segments; /* oldest first; the last one may be `tail` */
    struct segment *tail;     /* being written; NULL: the next batch begins a new one */
    struct segment *retired;  /* taken from the list, still to be freed on disk */
    struct segment *litter;   /* freed: files free-*, to be removed */
    uint64_t litter_bytes;
    uint64_t disk_bytes;    /* of segments, not of the spare */
    uint64_t retired_bytes; /* part of it */
    uint32_t spare;
    uint64_t spare_bytes;
    bool spare_worn;
    int no_spare;            /* the disk was full when one was wanted: -ENOSPC, -EDQUOT */
    bool spare_again;        /* it is time for another */
    struct id_list unlinks;  /* body files to be removed */
    struct id_list doubtful; /* those of refused messages whose record may lie behind the log's end,
                                and those that could not be removed: they go when the next segment
                                has been made, whose header says where the log ended */
    struct pending_list pending;
    struct pending_list landed; /* durable on disk, their consequences still to be drawn */
    uint64_t landed_to;         /* durable when all of those are settled */
    uint64_t last_append, durable;
    uint64_t next_record, next_seq, durable_seq, kept_seq;
    uint64_t copies_bytes;          /* copies on their way to the log */
    uint64_t last_batch_bytes;      /* of what was not a copy in the last batch that had records */
    struct {                        /* of compaction through the log */
        uint32_t end;               /* the newest segment when it began; 0: none */
        uint64_t disk, live, fresh; /* bytes, when it began */
    } round;
    uint64_t fresh_bytes; /* written since opening that were not copies */
    bool evacuating;      /* some segment may be left to evacuate */
    bool free_failed;     /* the last batch could not free what is retired */
    bool sweep_failed;    /* the litter could not be removed: not before there is more of it */
    bool task_out;
    uint64_t footer_bytes; /* of disk_bytes: by what footers made files larger */
    uint32_t footers_from; /* older segments have been seen to: they have their footer, or get none
                              now */
    bool dirty;            /* something was written since opening: close leaves a MARK */
    struct spool_batch *out;
    struct buf encode; /* heads are built here */
    struct buf batch_bytes;
};

#define ENCODE_MAX RECORD_LENGTH_MAX

/* Appends a record whose head is s->encode; returns it to be filled. events_at: where its events
 * begin. */
struct pending *spool_append(struct spool *s, enum record_type type, size_t events_at,
                             size_t n_events);
/* Oldest segments that nothing needs any more are to be freed with the next batch. */
void spool_retire(struct spool *s);
/* Removes the message when nothing is left of it and its records are durable. */
void spool_reap(struct spool *s, struct message *m);
void id_list_add(struct id_list *l, uint64_t id);
void spool_body_name(char ret[SEGMENT_NAME_SIZE], uint64_t id);
/* Copies a stretch of a segment to quarantine/, durably. */
int spool_quarantine(const struct file_ops *fs, uint32_t segment, uint64_t from, uint64_t to);
/* All of a body file with n bytes of content: 0, -EBADMSG, -ENOENT, other trouble. */
int spool_body_check(const struct file_ops *fs, uint64_t id, uint64_t n);
struct segment *segment_new(uint32_t number, uint64_t size);
/* A sealed segment of an open spool, as log_find would say, without its header. */
struct segment_found segment_as_found(const struct segment *g);
/* A good footer has been written, and the file is so large now. */
void segment_has_footer(struct spool *s, struct segment *g, uint64_t file_bytes);
/* Bytes of a segment by number: 0, -EBADMSG when it is shorter, other negative errno. */
int spool_segment_pread(const struct file_ops *fs, uint32_t segment, uint64_t offset, size_t n,
                        uint8_t *p);
