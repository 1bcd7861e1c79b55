/*
 * A page of rows: one allocation, rows first and their text behind them, kept from step to step. It
 * never grows while it fills, so the slices of its rows stay where they point.
 */
#include "relay/base/must.h"
#include "relay/spooler/requests.h"

/* No text of a row is longer, whatever stands in the queue: so a row fits into an empty page. */
enum { ROW_TEXT_MAX = 4096 };

static const size_t texts[] = {
    offsetof(struct queue_row, sender),      offsetof(struct queue_row, recipient),
    offsetof(struct queue_row, user),        offsetof(struct queue_row, last_reply),
    offsetof(struct queue_row, last_host),   offsetof(struct queue_row, site),
    offsetof(struct queue_row, destination), offsetof(struct queue_row, envid),
    offsetof(struct queue_row, tags),        offsetof(struct queue_row, route),
    offsetof(struct queue_row, redirected),  offsetof(struct queue_row, message_id)};

static struct slice *text_of(struct queue_row *r, size_t i)
{
    return (struct slice *)(void *)((char *)r + texts[i]);
}

bool spooler_admin_row(struct spooler_admin *a, const struct queue_row *r)
{
    const size_t n = sizeof texts / sizeof *texts;
    struct queue_row row = *r;
    size_t need = 0;
    for (size_t i = 0; i < n; i++) {
        struct slice *text = text_of(&row, i);
        *text = slice_head(*text, ROW_TEXT_MAX);
        need += text->n;
    }
    const size_t most = a->page_rows && a->page_rows < PAGE_ROWS ? a->page_rows : PAGE_ROWS;
    if (a->n_rows == most || need > PAGE_TEXT - a->text_n)
        return false;
    if (!a->rows)
        a->rows = must_realloc(NULL, PAGE_ROWS * sizeof *a->rows + PAGE_TEXT);
    uint8_t *to = (uint8_t *)(a->rows + PAGE_ROWS) + a->text_n;
    for (size_t i = 0; i < n; i++) {
        struct slice *text = text_of(&row, i);
        if (text->n)
            memcpy(to, text->p, text->n);
        text->p = to;
        to += text->n;
    }
    a->text_n += need;
    a->rows[a->n_rows++] = row;
    return true;
}
