/*
 * The suppression list's file. Laws: a line that can be read is written as it stood, and read again
 * the same; whatever lines are folded, the lines that the list gives for itself fold to the same
 * list, and to the same lines once more; who is found is listed.
 */
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/suppress/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct suppress_policy policy = {
    .bounces = 2, .within_s = 86400, .keep_s = 0, .by_user = true};
static const struct wall now = {INT64_C(1800000000) * WALL_SECOND};

static void check_line(const struct suppress_line *l)
{
    struct buf out = BUF_MAX(SUPPRESS_LINE_MAX);
    struct suppress_line again;
    MUST(suppress_line_write(&out, l));
    const struct slice written = slice_head(buf_slice(&out), out.n - 1);
    MUST(out.p[out.n - 1] == '\n' && slice_find(written, '\n') == written.n);
    MUST(suppress_line_read(written, &again));
    MUST(again.kind == l->kind && again.seq == l->seq && again.time.us == l->time.us);
    MUST(slice_eq(again.user, l->user) && slice_eq(again.address, l->address));
    MUST(slice_eq(again.reason, l->reason));
    buf_done(&out);
}

/* A judged bounce is a line like any other. */
static void judge(struct suppress_list *l, const struct suppress_line *about)
{
    struct suppress_line next;
    struct buf out = BUF_MAX(SUPPRESS_LINE_MAX);
    if (suppress_list_judge(l, &policy, about->seq + 1, about->user, about->address, about->reason,
                            now, &next)) {
        MUST(suppress_line_write(&out, &next));
        (void)suppress_list_apply(l, &next);
        if (next.kind == SUPPRESS_LISTED && !suppress_list_is_full(l))
            MUST(suppress_list_has(l, about->user, about->address));
    }
    buf_done(&out);
}

/* As a line is written: nothing in it that would be cleaned or cut. */
static bool is_ours(const struct suppress_line *l)
{
    const struct slice texts[] = {l->user, l->address, l->reason};
    static const size_t most[] = {SUPPRESS_USER_MAX, SUPPRESS_ADDRESS_MAX, SUPPRESS_REASON_MAX};
    bool ours = true;
    for (size_t i = 0; i < 3; i++) {
        struct buf clean = BUF_MAX(SUPPRESS_LINE_MAX);
        utf8_clean(&clean, texts[i], most[i]);
        ours = ours && slice_eq(buf_slice(&clean), texts[i]);
        buf_done(&clean);
    }
    return ours;
}

/* No chance finds a check sum: a line without one gets it. */
static bool read_line(struct slice text, struct buf *whole, struct suppress_line *ret)
{
    buf_reset(whole);
    buf_add(whole, text);
    if (!suppress_line_read(text, ret))
        buf_addf(whole, "\t%08x", (unsigned)crc32c(0, text.p, text.n));
    return suppress_line_read(buf_slice(whole), ret) && is_ours(ret);
}

static void fold(struct suppress_list *l, struct slice text, bool judged)
{
    struct buf whole = BUF_MAX(1u << 20);
    while (text.n) {
        struct suppress_line line;
        const struct slice one = slice_cut(&text, '\n');
        if (one.n > SUPPRESS_LINE_MAX || !read_line(one, &whole, &line))
            continue;
        check_line(&line);
        (void)suppress_list_apply(l, &line);
        if (judged && line.kind == SUPPRESS_BOUNCED && line.seq < UINT64_MAX)
            judge(l, &line);
    }
    buf_done(&whole);
}

static void lines_of(struct suppress_list *l, struct buf *out)
{
    size_t at = 0;
    do
        suppress_list_lines(l, &policy, now, &at, 3, out);
    while (at);
    MUST(!out->overflow);
}

static size_t walk(struct suppress_list *l)
{
    size_t at = 0, n = 0;
    struct suppress_row row;
    struct suppress_found found;
    do
        while (suppress_list_next(l, &at, 5, &row)) {
            MUST(suppress_list_has(l, row.user, row.address));
            MUST(suppress_list_find(l, &policy, row.user, row.address, now, &found));
            n++;
            if (at == 0)
                break;
        }
    while (at);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct suppress_list *a = suppress_list_new(), *b = suppress_list_new();
    struct buf first = BUF_MAX(8u << 20), second = BUF_MAX(8u << 20);
    fold(a, slice_of(data, size), true);
    lines_of(a, &first);
    fold(b, buf_slice(&first), false);
    MUST(suppress_list_listed(a) == suppress_list_listed(b));
    MUST(suppress_list_counted(a) == suppress_list_counted(b));
    MUST(walk(b) == suppress_list_listed(b));
    struct suppress_list *c = suppress_list_new();
    lines_of(b, &second);
    fold(c, buf_slice(&second), false);
    MUST(suppress_list_listed(c) == suppress_list_listed(b));
    MUST(suppress_list_counted(c) == suppress_list_counted(b) && first.n == second.n);
    suppress_list_free(a);
    suppress_list_free(b);
    suppress_list_free(c);
    buf_done(&first);
    buf_done(&second);
    return 0;
}
