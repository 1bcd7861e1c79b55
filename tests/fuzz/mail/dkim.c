/*
 * Laws: any split of a body gives the same canonical octets, and they are what a slow reading of
 * RFC 6376 section 3.4.4 makes of it; what is canonical stays as it is; a signature is one field,
 * of the length that was kept for it, whatever the header section holds, and a message with our
 * field in front of it has the author that it had. Input: one byte of step, then the message.
 */
#include "relay/base/must.h"
#include "relay/mail/dkim_canon.h"
#include "relay/mail/dkim_priv.h"
#include "relay/mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void gather(void *ctx, struct slice octets)
{
    MUST(octets.n > 0 && octets.n <= DKIM_CHUNK && buf_add(ctx, octets));
}

static struct buf canon(struct slice body, size_t step)
{
    struct buf out = BUF_MAX(body.n + 2);
    struct dkim_body b = {.sink = gather, .ctx = &out};
    for (; body.n > 0; body = slice_skip(body, step))
        dkim_body_bytes(&b, slice_head(body, step));
    dkim_body_end(&b);
    return out;
}

/* One line without its end: blanks put together, none at the end. */
static void slow_line(struct slice line, struct buf *out)
{
    while (line.n > 0 && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
        line.n--;
    for (size_t i = 0; i < line.n; i++) {
        const bool blank = line.p[i] == ' ' || line.p[i] == '\t';
        if (!blank)
            buf_add_u8(out, line.p[i]);
        else if (line.p[i + 1] != ' ' && line.p[i + 1] != '\t')
            buf_add_u8(out, ' ');
    }
}

static struct buf slow(struct slice body)
{
    struct buf out = BUF_MAX(body.n + 2);
    while (body.n > 0) {
        const size_t n = slice_find_slice(body, SLICE_LIT("\r\n"));
        slow_line(slice_head(body, n), &out);
        buf_add_str(&out, "\r\n");
        body = slice_skip(body, n + 2);
    }
    while (out.n >= 2 && memcmp(out.p + out.n - 2, "\r\n", 2) == 0 &&
           (out.n == 2 || (out.n >= 4 && memcmp(out.p + out.n - 4, "\r\n", 2) == 0)))
        buf_cut(&out, out.n - 2);
    return out;
}

static void check_body(struct slice body, size_t step)
{
    struct buf whole = canon(body, body.n + 1), pieces = canon(body, step), want = slow(body);
    MUST(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    MUST(slice_eq(buf_slice(&whole), buf_slice(&want)));
    struct buf again = canon(buf_slice(&whole), step);
    MUST(slice_eq(buf_slice(&whole), buf_slice(&again)));
    buf_done(&whole);
    buf_done(&pieces);
    buf_done(&want);
    buf_done(&again);
}

static void check_fields(struct slice section)
{
    struct header_field field;
    while (header_next(&section, &field)) {
        struct buf once = BUF_MAX(field.raw.n), twice = BUF_MAX(field.raw.n);
        dkim_canon_field(&once, field.raw);
        dkim_canon_field(&twice, buf_slice(&once));
        MUST(!once.overflow && slice_eq(buf_slice(&once), buf_slice(&twice)));
        MUST(slice_find_slice(buf_slice(&once), SLICE_LIT("\r\n")) == once.n);
        buf_done(&once);
        buf_done(&twice);
    }
}

/* For every author: the key signs for a domain above all that the input may have. */
static const struct dkim_ring *ring_of(const char *name)
{
    static struct dkim_ring *ring;
    static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                              "-----END PRIVATE KEY-----\n";
    struct dkim_domain d = {.subdomains = true, .n = 1, .keys = {{.selector = "s"}}};
    struct err e;
    dkim_ring_free(ring);
    ring = dkim_ring_new();
    memcpy(d.name, name, strlen(name) + 1);
    MUST(dkim_key_read(&d.keys[0].key, slice_str(pem), &e) == 0);
    dkim_ring_add(ring, &d);
    return ring;
}

static void check_signature(struct slice message)
{
    char author[DNS_NAME_SIZE], same[DNS_NAME_SIZE];
    struct buf out = BUF_MAX(DKIM_FIELDS_MAX), whole = BUF_MAX(DKIM_FIELDS_MAX + message.n);
    const size_t end = slice_find_slice(message, SLICE_LIT("\r\n\r\n"));
    if (!dkim_author(slice_head(message, end + 2), author))
        return;
    const struct dkim_ring *ring = ring_of(author);
    const struct wall now = {INT64_C(1700000000) * WALL_SECOND};
    MUST(dkim_sign_message(ring, message, now, &out) && !out.overflow);
    struct dkim_sign *s = dkim_sign_new(ring, slice_head(message, end + 2), now);
    MUST(s && dkim_sign_size(s) == out.n);
    dkim_sign_free(s);
    struct slice rest = buf_slice(&out);
    struct header_field field;
    MUST(header_next(&rest, &field) && rest.n == 0);
    MUST(slice_eq(field.name, SLICE_LIT("DKIM-Signature")));
    buf_add(&whole, buf_slice(&out));
    buf_add(&whole, message);
    MUST(dkim_author(buf_slice(&whole), same) && strcmp(author, same) == 0);
    buf_done(&out);
    buf_done(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct slice message = slice_of(data + 1, size - 1);
    const size_t end = slice_find_slice(message, SLICE_LIT("\r\n\r\n"));
    check_fields(message);
    check_body(message, data[0] ? data[0] : 1000);
    check_body(slice_skip(message, end + 4), data[0] ? data[0] : 1000);
    check_signature(message);
    return 0;
}
