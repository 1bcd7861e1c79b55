/*
 * Command lines. Laws: any split gives the same lines; no text holds CR or LF; what is found lies
 * within the line and holds no control byte; a culprit is safe to repeat in a reply. Input: one
 * byte that chooses the split, then the bytes.
 */
#include "relay/smtp/command.h"
#include "relay/base/must.h"
#include "relay/smtp/line.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(struct slice whole, struct slice part)
{
    MUST(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

static void safe(struct slice culprit)
{
    MUST(culprit.n <= 32);
    for (size_t i = 0; i < culprit.n; i++)
        MUST(culprit.p[i] > 0x20 && culprit.p[i] < 0x7f);
}

static void look(struct slice line)
{
    MUST(slice_find(line, '\r') == line.n && slice_find(line, '\n') == line.n);
    if (!command_is_clean(line))
        return;
    struct slice args, culprit, mechanism, response;
    struct smtp_mail m;
    struct smtp_rcpt r;
    uint64_t n;
    bool flag;
    command_verb(line, &args);
    within(line, args);
    if (command_mail(args, true, &m, &culprit) == COMMAND_FINE) {
        within(args, m.path);
        within(args, m.auth);
        MUST(m.path.n <= 254 && command_is_clean(m.path));
    }
    safe(culprit);
    if (command_rcpt(args, &r, &culprit) == COMMAND_FINE) {
        within(args, r.path);
        MUST(r.path.n > 0 && r.path.n <= 254 && command_is_clean(r.path));
    }
    safe(culprit);
    command_bdat(args, &n, &flag);
    if (command_auth(args, &mechanism, &response, &flag) == COMMAND_FINE) {
        within(args, mechanism);
        within(args, response);
    }
}

static void run(struct slice in, size_t step, struct buf *events)
{
    struct line l;
    line_init(&l);
    for (size_t at = 0; at < in.n;) {
        enum line_event event;
        at += line_read(&l, slice_head(slice_skip(in, at), step), false, &event);
        if (event == LINE_MORE)
            continue;
        buf_add_u8(events, (uint8_t)event);
        if (event == LINE_WHOLE) {
            /* An exact copy, so that a sanitizer sees one byte too many. */
            uint8_t *copy = must_alloc(l.text.n ? l.text.n : 1);
            if (l.text.n)
                memcpy(copy, l.text.p, l.text.n);
            look(slice_of(copy, l.text.n));
            free(copy);
            buf_add(events, buf_slice(&l.text));
        }
        line_next(&l);
        if (event == LINE_ENDLESS)
            break;
    }
    line_done(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    struct buf whole = BUF_MAX(1 << 22), parts = BUF_MAX(1 << 22);
    run(in, in.n, &whole);
    run(in, 1 + data[0] % 16, &parts);
    MUST(slice_eq(buf_slice(&whole), buf_slice(&parts)));
    buf_done(&whole);
    buf_done(&parts);
    return 0;
}
