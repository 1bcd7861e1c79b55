/*
 * Who is suppressed, and whose hard bounces are being counted: a table in memory, the fold of the
 * file's lines. Pure: time is handed in, lines come out. Owner: suppress.c, under its lock.
 *
 * A name is a user ("" = everybody) and an address, or "@domain" for all of a domain. Letter case
 * of ASCII does not count, in local parts neither: who is unknown as Bob is unknown as bob. A
 * domain past ASCII is the same as its ASCII form (xn--), and is kept in that.
 *
 * Bounds: SUPPRESS_LISTED_MAX names listed (about 250 bytes each), SUPPRESS_COUNTED_MAX counted; of
 * the counted the one that bounced longest ago is forgotten for a new one.
 */
#pragma once
#include "relay/suppress/line.h"

#define SUPPRESS_LISTED_MAX 1000000
#define SUPPRESS_COUNTED_MAX 100000
#define SUPPRESS_BOUNCES_MAX 16

struct suppress_policy {
    unsigned bounces; /* so many … */
    int64_t within_s; /* … in this time put a recipient on the list; 0: none does */
    int64_t keep_s;   /* what bounces put there is let go after this; 0: never */
    bool by_user;     /* counted and listed for the user who sent; else for everybody */
};

struct suppress_list;
struct suppress_list *suppress_list_new(void);
void suppress_list_free(struct suppress_list *l);

/* What a line does, live and when the file is read. False: it changes nothing (a bounce seen
 * before; to be removed and not there), or there is no room (a full list). */
bool suppress_list_apply(struct suppress_list *l, const struct suppress_line *line);
/* The newest event of which a line told. */
uint64_t suppress_list_seen(const struct suppress_list *l);
size_t suppress_list_listed(const struct suppress_list *l);
size_t suppress_list_counted(const struct suppress_list *l);
bool suppress_list_is_full(const struct suppress_list *l);

struct suppress_found {
    struct wall since;
    enum suppress_source source;
    char reason[SUPPRESS_REASON_MAX + 1];
};
/* Is the address suppressed for this user: itself or its domain, for everybody or for him? */
bool suppress_list_find(struct suppress_list *l, const struct suppress_policy *p, struct slice user,
                        struct slice address, struct wall now, struct suppress_found *ret);
/* Is this very name listed? */
bool suppress_list_has(struct suppress_list *l, struct slice user, struct slice address);

/* What a hard bounce comes to: fills the line to be written and applied, LISTED when it was the
 * last that was missing, else BOUNCED. False: nothing, it is listed already or the policy counts
 * none. */
bool suppress_list_judge(struct suppress_list *l, const struct suppress_policy *p, uint64_t seq,
                         struct slice user, struct slice address, struct slice reason,
                         struct wall now, struct suppress_line *ret);
/* Is something counted against him that a delivery forgives? */
bool suppress_list_is_counted(struct suppress_list *l, struct slice user, struct slice address);

/* One row of a listing; slices live until the list changes. */
struct suppress_row {
    struct slice user, address, reason;
    struct wall since;
    enum suppress_source source;
};
/* The next listed name at *at (0: the beginning) and behind it, which is moved on; looks at `most`
 * places. False: none among these; *at is 0 when that was the end. Names that are there throughout
 * a walk come exactly once. */
bool suppress_list_next(struct suppress_list *l, size_t *at, size_t most, struct suppress_row *ret);
/* The lines that make the places from *at on, at most `most` places; moves *at on, 0: the end. What
 * has run out by the policy is left out, and forgotten. */
void suppress_list_lines(struct suppress_list *l, const struct suppress_policy *p, struct wall now,
                         size_t *at, size_t most, struct buf *out);
