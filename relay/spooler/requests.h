/* The room's own helpers for the messages of spooler.h. */
#pragma once
#include "relay/spooler/spooler.h"

/* Frees a request (enum spooler_type) or an order (enum out_type) with all that it owns. */
void spooler_request_free(struct msg *m);
void spooler_order_free(struct msg *m);
/* Rows of the last step go; filter, totals and cursor stay. */
void spooler_admin_reset(struct spooler_admin *a);
/* A copy on the heap with room for a NUL. */
struct buf buf_of(struct slice s);

/* The most common last replies, counted over the steps of one listing: at most 200 different texts.
 */
void error_tally_add(struct error_tally **t, struct slice text);
void error_tally_top(const struct error_tally *t, struct queue_totals *ret);
void error_tally_free(struct error_tally *t);
