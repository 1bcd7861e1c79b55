/*
 * The inside of "spool check": what checking a stopped spool (verify.c) and a running one (check.c)
 * have in common. Private to queue/.
 *
 * A segment is read whole (check_segment.c) and, when asked, mended (repair.c). Whether a damaged
 * body matters depends on whether its message is still there: that is a doubt until the end, when
 * an index decides it.
 */
#pragma once
#include "queue/footer.h"
#include "queue/spool_private.h"

/* Bytes that hold no good record: damaged, or a VOID. */
struct check_stretch {
    uint64_t from, to;
    uint64_t after, before; /* record numbers around it */
    bool is_void;
    const char *what; /* words for a person */
};

enum check_doubt_kind { DOUBT_BODY, DOUBT_RECORD, DOUBT_FILE, DOUBT_FILE_MISSING };
struct check_doubt {
    enum check_doubt_kind kind;
    uint32_t segment;
    uint64_t id, at; /* where its MESSAGE lies, or lay */
};

/* A MESSAGE whose content is in a file. */
struct check_file {
    uint64_t id, n, at;
    uint32_t segment;
};

struct check_segment {
    struct segment_found found;
    struct segment *pinned; /* running */
    uint64_t footer_to;     /* a footer was written: the file ends here or later */
    bool may_repair;        /* sealed, or of a stopped spool */
    bool damaged;           /* some of its records are */
};

struct spool_check {
    const struct file_ops *fs;
    uint32_t salt;
    bool repair;
    void (*say)(void *ctx, const char *line); /* during a step */
    void *ctx;
    struct check_segment *segments;
    size_t n_segments, next_segment;
    bool released; /* before all of them were read */
    struct check_file *files;
    size_t n_files, files_cap, next_file;
    bool files_sorted;
    struct check_doubt *doubts;
    size_t n_doubts, doubts_cap;
    struct spool_report report;
};

void check_say(struct spool_check *c, const char *line);
/* A finding about segment `number`: bytes from … to, or (from == to) as a whole. */
void check_tell(struct spool_check *c, uint32_t number, uint64_t from, uint64_t to,
                const char *what);
void check_doubt(struct spool_check *c, enum check_doubt_kind kind, uint32_t segment, uint64_t id,
                 uint64_t at);
/* The index decides; adds messages and recipients to the report. */
void check_settle(struct spool_check *c, const struct fold *f);
void check_done(struct spool_check *c);
bool check_step(struct spool_check *c);

/* --- check_segment.c */
struct check_scan {
    struct check_stretch *stretches;
    size_t n, cap;
    bool damaged;                   /* some of them are not VOID */
    uint64_t last_end, last_number; /* of the last good record */
    struct footer_builder *builder;
    int error; /* trouble that is not damage */
};
/* Reads all records; quiet: only the stretches are wanted. */
void check_scan(struct spool_check *c, const struct check_segment *cs, bool quiet,
                struct check_scan *ret);
void check_scan_done(struct check_scan *sc);
void check_segment(struct spool_check *c, struct check_segment *cs);

/* --- repair.c: each returns whether it is mended now, synced. */
bool repair_header(struct spool_check *c, const struct segment_found *f, unsigned bad_copy);
bool repair_stretch(struct spool_check *c, const struct segment_found *f,
                    const struct check_stretch *st);
/* Makes and writes the footer of a segment that is read again for it. */
bool repair_footer(struct spool_check *c, struct check_segment *cs);
