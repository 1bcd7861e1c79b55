/*
 * Laws: any split of a message gives the same facts and the same section; a section that was mended
 * is mended again by changing nothing; what is removed is not there any more; all other fields
 * stand there in their order, byte for byte, below what was added.
 * Input: one byte of step, one of rules, then the message.
 */
#include "relay/mail/fixup.h"
#include "relay/base/must.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The facts of a message that comes in pieces, as the front door has them. */
static struct slice scan(struct header_scan *h, const struct fixup_rules *r, struct slice message,
                         size_t step)
{
    header_scan_init(h, r->max_octets);
    for (struct slice rest = message; rest.n > 0; rest = slice_skip(rest, step))
        header_scan_bytes(h, slice_head(rest, step));
    header_scan_end(h);
    return slice_skip(slice_head(message, h->facts.header_n), h->facts.from_line_n);
}

/* The section mended, or nothing and the fault. */
static enum fixup_fault mend(struct slice message, const struct fixup_rules *r, size_t step,
                             struct buf *out)
{
    struct header_scan h;
    struct fixup f = {0};
    struct slice section = scan(&h, r, message, step), detail;
    const struct fixup_words words = {.queue_id = SLICE_LIT("01HF7YAT00"),
                                      .hostname = SLICE_LIT("relay.test"),
                                      .sender = SLICE_LIT("app@a.test"),
                                      .now = {INT64_C(1700000000) * WALL_SECOND}};
    fixup_look(&f, section);
    const enum fixup_fault fault = fixup_judge(&f, &h.facts, r, &detail);
    MUST(!f.tags.overflow && f.n_tags <= FIXUP_TAGS_MAX);
    if (fault == FIXUP_FINE)
        fixup_write(out, &f, r, &words, section);
    MUST(out->n <= section.n + 2048 && !out->overflow);
    fixup_done(&f);
    header_scan_done(&h);
    return fault;
}

static bool is_removed(struct slice name)
{
    static const char *const removed[] = {
#define X(field, name_, removed_) removed_ ? name_ : NULL,
#include "relay/mail/fixup.def"
#undef X
    };
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++)
        if (removed[i] && slice_ieq(name, slice_str(removed[i])))
            return true;
    return false;
}

/* Each field that stays is found in the mended section behind the one before it. */
static void check_kept(struct slice section, struct slice mended)
{
    struct header_field was, is = {0};
    struct slice rest = mended;
    while (header_next(&section, &was)) {
        if (is_removed(was.name))
            continue;
        do
            MUST(header_next(&rest, &is));
        while (!slice_starts(is.raw, was.raw));
        MUST(is.raw.n == was.raw.n || section.n == 0);
    }
    for (rest = mended; header_next(&rest, &is);)
        MUST(!is_removed(is.name));
    MUST(slice_eq(rest, SLICE_LIT("\r\n")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct fixup_rules r = {.date = data[1] % 3,
                                  .message_id = data[1] / 3 % 3,
                                  .from = data[1] / 9 % 3,
                                  .to = data[1] / 27 % 3,
                                  .max_octets = 100000,
                                  .max_fields = 200,
                                  .max_hops = 20};
    const struct slice message = slice_of(data + 2, size - 2);
    struct buf whole = BUF_MAX(1 << 20), pieces = BUF_MAX(1 << 20), again = BUF_MAX(1 << 20);
    const enum fixup_fault fault = mend(message, &r, message.n + 1, &whole);
    MUST(mend(message, &r, data[0] ? data[0] : 1000, &pieces) == fault);
    MUST(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    if (fault == FIXUP_FINE) {
        struct header_scan h;
        check_kept(scan(&h, &r, message, message.n + 1), buf_slice(&whole));
        header_scan_done(&h);
        /* What was added may lead past a limit on the next way in. */
        struct fixup_rules wide = r;
        wide.max_octets += 2048;
        wide.max_fields += 10;
        MUST(mend(buf_slice(&whole), &wide, whole.n, &again) == FIXUP_FINE);
        MUST(slice_eq(buf_slice(&whole), buf_slice(&again)));
    }
    buf_done(&whole);
    buf_done(&pieces);
    buf_done(&again);
    return 0;
}
