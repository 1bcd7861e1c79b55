/*
 * The index footer of a sealed segment: what its records do to the index, reduced, so that opening
 * need not read them. README.md has the layout, what is left out, and the law: folding a footer
 * does to any index what folding the records does.
 *
 * Made from the bytes of the segment alone (footer_build.c), by housekeeping (footer_task.c) and by
 * repair, and folded by replay. A footer that is not whole is not there.
 */
#pragma once
#include "queue/replay.h"

enum footer_kind { /* on disk: never renumber */
                   FOOTER_MESSAGE = 1,
                   FOOTER_STATE,
                   FOOTER_TOLD,
                   FOOTER_GONE,
                   FOOTER_TOLD_DELAY,
                   FOOTER_TOLD_ONE
};

struct footer {
    uint32_t number, salt;
    uint64_t end; /* of the log that it tells of */
    uint64_t last_record, id_high, seq_high, max_seq, records, events;
    uint32_t n_entries;
    struct slice entries; /* in bytes */
    uint8_t *bytes;
};

/* Where it begins. */
uint64_t footer_at(uint64_t end);
/* 1: *ret is good (footer_done); 0: there is none; -ENODATA: what is left of a header (its writing
 * failed, or it was damaged); -EBADMSG: a good header without its entries, or neither can be read;
 * other negative errno: trouble. `f` must be sealed (its end known, the file not cut). */
int footer_read(const struct file_ops *fs, const struct segment_found *f, uint32_t salt,
                struct footer *ret);
void footer_done(struct footer *f);
enum { FOOTER_HEADER = 96 };
/* Of f, whose entries stand behind it. */
void footer_header_write(uint8_t *p, const struct footer *f);
/* Entries, fdatasync, header: into the file named `named`. `whole` as footer_builder_finish made
 * it. */
int footer_write(const struct file_ops *fs, uint32_t named, uint64_t end, struct slice whole);

struct footer_entry {
    enum footer_kind kind;
    uint64_t offset;         /* of the record it comes from */
    uint32_t length, head_n; /* MESSAGE: of that record */
    struct slice head;       /* MESSAGE, STATE */
    uint64_t id;             /* TOLD, TOLD_DELAY, TOLD_ONE, GONE */
    uint64_t rcpt;           /* TOLD_ONE: counted from 1; else 0 */
};
struct footer_cursor {
    struct cursor c;
    uint64_t at;
};
struct footer_cursor footer_entries(const struct footer *f);
/* False at the end or at damage (fc->c.bad). */
bool footer_next(struct footer_cursor *fc, struct footer_entry *ret);

/* --- making
 * ---------------------------------------------------------------------------------------------- */

struct footer_builder;
/* id_high: of the segment's header; 0 when that is damaged and no footer is wanted. */
struct footer_builder *footer_builder_new(uint64_t id_high);
void footer_builder_free(struct footer_builder *b);
/* The next record of the segment. False: it cannot be read. */
bool footer_builder_add(struct footer_builder *b, const struct record *rec);
/* Records and events seen so far, also those that could not be read. */
void footer_builder_count(const struct footer_builder *b, uint64_t *ret_records,
                          uint64_t *ret_events);
/* The whole footer, header and entries. False: it would be too large. */
bool footer_builder_finish(struct footer_builder *b, uint32_t number, uint32_t salt, uint64_t end,
                           struct buf *out);
