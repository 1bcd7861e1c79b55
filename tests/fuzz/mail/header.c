/* Laws: any split of a message gives the same facts; the walk over fields finds what the scan
 * counted; nothing of a peer's becomes structure in a Received field. */
#include "relay/mail/header.h"
#include "relay/base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan(struct header_scan *h, struct slice s, size_t step)
{
    header_scan_init(h, HEADER_SCAN_MAX);
    while (s.n > 0) {
        header_scan_bytes(h, slice_head(s, step));
        s = slice_skip(s, step);
    }
    header_scan_end(h);
    MUST(h->done && h->facts.header_n <= HEADER_SCAN_MAX && h->message_id.n <= 998);
}

static void check_same(const struct header_scan *a, const struct header_scan *b)
{
    const struct header_facts *f = &a->facts, *g = &b->facts;
    MUST(f->has_message_id == g->has_message_id);
    MUST(f->no_header_end == g->no_header_end && f->eight_bit == g->eight_bit);
    MUST(f->eight_bit_header == g->eight_bit_header && f->eight_bit_header <= f->eight_bit);
    MUST(f->malformed == g->malformed && f->too_long == g->too_long && f->received == g->received);
    MUST(f->header_n == g->header_n && f->from_line_n == g->from_line_n);
    MUST(slice_eq(buf_slice(&a->message_id), buf_slice(&b->message_id)));
}

static void check_walk(const struct header_facts *f, struct slice message)
{
    struct slice rest = slice_skip(slice_head(message, f->header_n), f->from_line_n);
    struct header_field field;
    unsigned received = 0;
    bool id = false, eight = false;
    while (header_next(&rest, &field)) {
        received += slice_ieq(field.name, SLICE_LIT("Received"));
        id |= slice_ieq(field.name, SLICE_LIT("Message-ID"));
        for (size_t i = 0; i < field.raw.n; i++)
            eight |= field.raw.p[i] >= 0x80;
    }
    MUST(rest.n == (f->no_header_end || f->malformed ? 0 : 2));
    MUST(received == f->received && id == f->has_message_id);
    MUST(eight == f->eight_bit_header);
}

static void check_received(struct slice s)
{
    struct received_info r = {.hostname = SLICE_LIT("r.test"), .protocol = SLICE_LIT("ESMTP")};
    r.helo = slice_cut(&s, '|');
    r.client_ip = slice_cut(&s, '|');
    r.queue_id = slice_cut(&s, '|');
    r.tls_version = slice_cut(&s, '|');
    r.tls_cipher = slice_cut(&s, '|');
    r.user = slice_cut(&s, '|');
    r.recipient = s;
    struct buf out = BUF_MAX(2048);
    header_write_received(&out, &r);
    MUST(!out.overflow && out.n > 2 && out.p[out.n - 1] == '\n');
    for (size_t i = 0; i < out.n; i++) {
        uint8_t c = out.p[i];
        MUST((c >= 32 && c < 127) || c == '\t' || c == '\r' || c == '\n');
        MUST((c == '\n') == (i > 0 && out.p[i - 1] == '\r'));
    }
    struct slice rest = buf_slice(&out);
    struct header_field field;
    MUST(header_next(&rest, &field) && rest.n == 0);
    MUST(slice_eq(field.name, SLICE_LIT("Received")));
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice message = slice_of(data + 1, size - 1);
    struct header_scan whole, pieces;
    scan(&whole, message, message.n + 1);
    scan(&pieces, message, data[0] ? data[0] : 1000);
    check_same(&whole, &pieces);
    if (!whole.facts.too_long)
        check_walk(&whole.facts, message);
    header_scan_done(&whole);
    header_scan_done(&pieces);
    check_received(message);
    return 0;
}
