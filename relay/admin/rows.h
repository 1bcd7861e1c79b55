/* Answers of the control protocol as JSON. Pure. Text of peers and users is made valid UTF-8
 * without control characters. */
#pragma once
#include "relay/admin/request.h"

void rows_object(struct buf *out, json_t *line); /* takes line */
/* {"id":…,"KIND": as it stands before a value; the line ends with "}\n" behind it. id NULL: left
 * out.
 */
void rows_head(struct buf *out, json_t *id, const char *kind);
/* One line {"id":…,"KIND":{…}}; takes value. id NULL: left out. */
void rows_line(struct buf *out, json_t *id, const char *kind, json_t *value);
void rows_error(struct buf *out, json_t *id, const struct problem *p);

json_t *rows_text(struct slice s);
json_t *rows_time(struct wall t);
void rows_put(json_t *object, const char *key, json_t *value);       /* takes value */
void rows_put_text(json_t *object, const char *key, struct slice s); /* not when empty */
void rows_put_number(json_t *object, const char *key, uint64_t n);

/* A row as text: they go by the million. Brief: only what a table of the queue shows. */
void rows_recipient(struct buf *out, const struct queue_row *r, bool brief);
json_t *rows_site(const struct queue_site_row *s);
/* messages, recipients, ready, waiting, held, active, oldest_seconds */
json_t *rows_totals(const struct queue_totals *t, struct wall now);
void rows_put_ages(json_t *object, const struct queue_totals *t);
void rows_put_errors(json_t *object, const struct queue_totals *t);
/* {"data_base64":…}: pieces of a multiple of 3 bytes can be decoded one by one or all at once. */
json_t *rows_data(struct slice piece);

/* Length of what belongs to the header (with its empty line) when that ends within this piece, else
 * 0. Zeroed before the first piece. */
struct header_end {
    unsigned seen;
    bool begun;
};
size_t rows_header_end(struct header_end *h, struct slice piece);
