/* Tables for a terminal: columns as wide as their content, the flexible ones cut until a row fits.
 * Widths are settled by the first rows, so that a listing of a million streams. */
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/cli/private.h"
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HELD_MAX 200
#define CELL_MAX 4096
/* What is left of a flexible column: readable, or (on a narrow terminal) just something. */
#define FLEXIBLE_MIN 12
#define FLEXIBLE_LEAST 6
#define GAP 2

struct table {
    struct table_column columns[TABLE_COLUMNS_MAX];
    unsigned widths[TABLE_COLUMNS_MAX];
    size_t n;
    unsigned width, rows;
    FILE *to;
    bool settled;
    char *held[HELD_MAX][TABLE_COLUMNS_MAX];
    size_t n_held;
    struct buf line, cell; /* being built */
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

unsigned term_height(void)
{
    struct winsize size = {0};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row ? size.ws_row : 24;
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
    t->to = stdout;
    buf_init(&t->line, TABLE_COLUMNS_MAX * (CELL_MAX + 256));
    buf_init(&t->cell, CELL_MAX + 1);
    for (size_t i = 0; i < n; i++) {
        t->columns[i] = columns[i];
        t->widths[i] = term_columns(columns[i].title);
    }
    return t;
}

void table_to(struct table *t, FILE *to)
{
    t->to = to;
}

/* Text for the screen: as it is when it is plain, else cleaned into b. */
static const char *clean(struct buf *b, const char *text)
{
    if (utf8_plain(slice_str(text)))
        return text[0] ? text : "-";
    buf_reset(b);
    utf8_clean(b, slice_str(text), CELL_MAX);
    return buf_str(b);
}

/* Takes from the widest flexible column that has more than `least`, one by one, until the row fits.
 */
static void fit_to(struct table *t, unsigned least)
{
    for (;;) {
        unsigned sum = (unsigned)(t->n - 1) * GAP;
        size_t widest = t->n;
        for (size_t i = 0; i < t->n; i++) {
            sum += t->widths[i];
            if (t->columns[i].flexible && t->widths[i] > least &&
                (widest == t->n || t->widths[i] > t->widths[widest]))
                widest = i;
        }
        if (t->width == 0 || sum <= t->width || widest == t->n)
            return;
        t->widths[widest]--;
    }
}

static void fit(struct table *t)
{
    fit_to(t, FLEXIBLE_MIN);
    fit_to(t, FLEXIBLE_LEAST);
}

static void add_blanks(struct buf *b, unsigned n)
{
    static const char blanks[] = "                                ";
    for (unsigned piece; n > 0; n -= piece) {
        piece = n < sizeof blanks - 1 ? n : (unsigned)sizeof blanks - 1;
        buf_add(b, slice_of(blanks, piece));
    }
}

static void add_cell(struct table *t, size_t i, const char *text)
{
    const unsigned room = t->widths[i];
    const bool last = i + 1 == t->n, right = t->columns[i].right;
    unsigned width = term_columns(text);
    const bool cut = t->width && t->columns[i].flexible && width > room;
    size_t n = strlen(text);
    if (cut) {
        n = term_fit(slice_str(text), room - 1, &width);
        width++;
    }
    const unsigned missing = width < room ? room - width : 0;
    add_blanks(&t->line, right ? missing : 0);
    buf_add(&t->line, slice_of(text, n));
    buf_add_str(&t->line, cut ? "…" : "");
    if (!last)
        add_blanks(&t->line, (right ? 0 : missing) + GAP);
}

/* Where not even that fits, the row ends with the line: it is never broken. */
static void clip_line(struct table *t)
{
    const bool ends = t->line.n > 0 && t->line.p[t->line.n - 1] == '\n';
    const size_t n = t->line.n - ends;
    unsigned taken;
    const size_t room = term_fit(slice_of(t->line.p, n), t->width, &taken);
    if (room >= n)
        return;
    buf_cut(&t->line, room);
    if (ends)
        buf_add_u8(&t->line, '\n');
}

static void print_line(struct table *t)
{
    if (t->width && t->line.n > t->width)
        clip_line(t);
    fwrite(t->line.p, 1, t->line.n, t->to);
    buf_reset(&t->line);
}

static void print_row(struct table *t, const char *const *cells)
{
    for (size_t i = 0; i < t->n; i++)
        add_cell(t, i, cells[i]);
    buf_add_u8(&t->line, '\n');
    print_line(t);
}

static void settle(struct table *t)
{
    const bool color = term_color();
    if (t->settled)
        return;
    t->settled = true;
    fit(t);
    if (t->n_held) {
        fputs(color ? "\033[1m" : "", t->to);
        for (size_t i = 0; i < t->n; i++)
            add_cell(t, i, t->columns[i].title);
        print_line(t);
        fputs(color ? "\033[0m\n" : "\n", t->to);
    }
    for (size_t r = 0; r < t->n_held; r++) {
        print_row(t, (const char *const *)t->held[r]);
        for (size_t i = 0; i < t->n; i++)
            free(t->held[r][i]);
    }
    t->n_held = 0;
}

static void hold(struct table *t, const char *const *cells)
{
    for (size_t i = 0; i < t->n; i++) {
        const char *text = clean(&t->cell, cells[i]);
        if (term_columns(text) > t->widths[i])
            t->widths[i] = term_columns(text);
        t->held[t->n_held][i] = slice_dup(slice_str(text));
    }
    if (++t->n_held == HELD_MAX)
        settle(t);
}

void table_row(struct table *t, const char *const *cells)
{
    t->rows++;
    if (!t->settled) {
        hold(t, cells);
        return;
    }
    for (size_t i = 0; i < t->n; i++)
        add_cell(t, i, clean(&t->cell, cells[i]));
    buf_add_u8(&t->line, '\n');
    print_line(t);
}

unsigned table_rows(const struct table *t)
{
    return t->rows;
}

void table_free(struct table *t)
{
    settle(t);
    buf_done(&t->line);
    buf_done(&t->cell);
    free(t);
}
