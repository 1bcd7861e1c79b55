/* The room's own helpers for the messages of spooler.h. */
#pragma once
#include "relay/spooler/spooler.h"

/* Frees a request (enum spooler_type) or an order (enum out_type) with all that it owns. */
void spooler_request_free(struct msg *m);
void spooler_order_free(struct msg *m);
/* Rows of the last step go; filter, totals and cursor stay. */
void spooler_admin_reset(struct spooler_admin *a);
/* What the last step found goes; filter and place stay. */
void spooler_export_reset(struct spooler_export *x);
/* Copies a row with its text into the page; false: the page is full. The first one always fits. */
#define PAGE_ROWS 500
#define PAGE_TEXT (128u * 1024)
bool spooler_admin_row(struct spooler_admin *a, const struct queue_row *r);
/* A copy on the heap with room for a NUL. */
struct buf buf_of(struct slice s);

/* The most common replies: the ERROR_TALLY_ROWS most used ones are kept, whatever comes. A reply
 * (by `hash`) told twice counts once, with its last number. */
#define ERROR_TALLY_ROWS 64
void error_tally_add(struct error_tally **t, const struct spool_reply *reply);
/* Adds up those whose first 200 bytes are equal, and gives the five largest. */
void error_tally_top(struct error_tally *t, struct queue_totals *ret);
void error_tally_free(struct error_tally *t);
void sorted_free(struct sorted *s);
void act_unref(struct act *a);
