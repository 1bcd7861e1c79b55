/* Tables for a terminal: columns as wide as their content, the flexible ones cut until a row fits.
 * Widths are settled by the first rows, so that a listing of a million streams. */
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/cli/private.h"
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HELD_MAX 200
#define FLEXIBLE_MIN 12
#define GAP 2

struct table {
    struct table_column columns[TABLE_COLUMNS_MAX];
    unsigned widths[TABLE_COLUMNS_MAX];
    size_t n;
    unsigned width, rows;
    bool settled;
    char *held[HELD_MAX][TABLE_COLUMNS_MAX];
    size_t n_held;
};

unsigned term_width(void)
{
    struct winsize size = {0};
    uint64_t columns;
    const char *text = getenv("COLUMNS");
    if (!isatty(STDOUT_FILENO))
        return 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
        return size.ws_col;
    return text && slice_u64(slice_str(text), 10000, &columns) ? (unsigned)columns : 80;
}

bool term_color(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && (!no || !*no) && (!term || strcmp(term, "dumb") != 0);
}

struct table *table_new(const struct table_column *columns, size_t n, unsigned width)
{
    struct table *t = must_alloc(sizeof *t);
    MUST(n <= TABLE_COLUMNS_MAX);
    t->n = n;
    t->width = width;
    for (size_t i = 0; i < n; i++) {
        t->columns[i] = columns[i];
        t->widths[i] = (unsigned)strlen(columns[i].title);
    }
    return t;
}

static unsigned width_of(const char *text)
{
    unsigned n = 0;
    for (const char *p = text; *p; p++)
        n += ((uint8_t)*p & 0xc0) != 0x80;
    return n;
}

/* How many bytes the first characters take. */
static size_t bytes_of(const char *text, unsigned characters)
{
    size_t n = 0;
    while (text[n] && (characters > 0 || ((uint8_t)text[n] & 0xc0) == 0x80)) {
        n++;
        characters -= ((uint8_t)text[n] & 0xc0) != 0x80;
    }
    return n;
}

static char *clean(const char *text)
{
    struct buf b = BUF_MAX(4096);
    utf8_clean(&b, slice_str(text), 4000);
    char *copy = slice_dup(buf_slice(&b));
    buf_done(&b);
    return copy;
}

/* Takes from the widest flexible column, one by one, until the row fits. */
static void fit(struct table *t)
{
    for (;;) {
        unsigned sum = (unsigned)(t->n - 1) * GAP;
        size_t widest = t->n;
        for (size_t i = 0; i < t->n; i++) {
            sum += t->widths[i];
            if (t->columns[i].flexible && t->widths[i] > FLEXIBLE_MIN &&
                (widest == t->n || t->widths[i] > t->widths[widest]))
                widest = i;
        }
        if (t->width == 0 || sum <= t->width || widest == t->n)
            return;
        t->widths[widest]--;
    }
}

static void print_cell(const struct table *t, size_t i, const char *text)
{
    unsigned width = width_of(text), room = t->widths[i];
    bool last = i + 1 == t->n;
    if (t->width && t->columns[i].flexible && width > room) {
        printf("%.*s…", (int)bytes_of(text, room - 1), text);
        width = room;
    } else if (t->columns[i].right) {
        printf("%*s%s", width < room ? (int)(room - width) : 0, "", text);
        width = room;
    } else {
        fputs(text, stdout);
    }
    if (!last)
        printf("%*s", (int)(width < room ? room - width : 0) + GAP, "");
}

static void print_row(const struct table *t, char *const *cells)
{
    for (size_t i = 0; i < t->n; i++)
        print_cell(t, i, cells[i]);
    putchar('\n');
}

static void settle(struct table *t)
{
    const bool color = term_color();
    if (t->settled)
        return;
    t->settled = true;
    fit(t);
    if (t->n_held) {
        fputs(color ? "\033[1m" : "", stdout);
        for (size_t i = 0; i < t->n; i++)
            print_cell(t, i, t->columns[i].title);
        puts(color ? "\033[0m" : "");
    }
    for (size_t r = 0; r < t->n_held; r++) {
        print_row(t, t->held[r]);
        for (size_t i = 0; i < t->n; i++)
            free(t->held[r][i]);
    }
    t->n_held = 0;
}

void table_row(struct table *t, const char *const *cells)
{
    char *copy[TABLE_COLUMNS_MAX] = {0};
    t->rows++;
    for (size_t i = 0; i < t->n; i++) {
        copy[i] = clean(cells[i][0] ? cells[i] : "-");
        if (!t->settled && width_of(copy[i]) > t->widths[i])
            t->widths[i] = width_of(copy[i]);
    }
    if (!t->settled) {
        memcpy(t->held[t->n_held++], copy, sizeof copy);
        if (t->n_held == HELD_MAX)
            settle(t);
        return;
    }
    print_row(t, copy);
    for (size_t i = 0; i < t->n; i++)
        free(copy[i]);
}

unsigned table_rows(const struct table *t)
{
    return t->rows;
}

void table_free(struct table *t)
{
    settle(t);
    free(t);
}
