/*
 * Laws: any split of a body gives the same canonical octets, and they are what a slow reading of
 * RFC 6376 section 3.4.4 makes of it; what is canonical stays as it is. Whatever the header section
 * holds, a key of each kind makes one field, of the length that was kept for it and the same from
 * pieces of any size, and a slow verifier that shares nothing with the signer finds it good, but
 * not once a From: was put above or a letter behind. With our fields in front a message has the
 * author that it had. Input: one byte of step, then the message.
 */
#include "relay/base/base64.h"
#include "relay/base/must.h"
#include "relay/mail/dkim_canon.h"
#include "relay/mail/dkim_priv.h"
#include "relay/mail/header.h"
#include <openssl/evp.h>
#include <openssl/pem.h>

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

/* ---- another reader of RFC 6376 section 6.1.3: slow, and with nothing of the signer's ---- */

static const char *const pems[] = {
    "-----BEGIN PRIVATE KEY-----\n"
    "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAOJuu8a1MZAZULNv\n"
    "FxksIDqH/HhmuIGNlyd9tY0E3vaVaFjUATCayw4+8JUhA7iA00Gmdt3QowXJJMGB\n"
    "OfNufWPlaA9gyDfa2XTITbbtZ97rmBPlt6cooShiEgR17wKK6cKwAaUksZFhQBDW\n"
    "uZrvfSEDRBr0Bl+97wnS3+hYa5h/AgMBAAECgYAqa8B2K8ALVRLPawKSzreC/7MH\n"
    "A4eRjetBlMWMk9sJq1gPPDi02GsuUhBUgAjoagoqBHvEdq/0B4kBT6qBtrN6x2Cf\n"
    "q1EC57GlC2JBiMSlUSykrn+4rwH9RRd80zwqHWESkRM0DonwbepP0t+14TyuWdZh\n"
    "gOs8WtctrYPitI8DwQJBAPg2sUisJCodAM4IgaaWXf0ugUpOrkVyY+MiwweJITGF\n"
    "b6Stf3QyL6z4t8hV+6iye0lWucp5qK4CpB/tyeiJyC8CQQDpiSAg2kTMifrbjTS2\n"
    "kn4EGPfqbJ4BsYjswhh3V8yM01/NMxjEg5K/Ra9vZPuKSw1XakldqPYnU8MitmYn\n"
    "HtCxAkEAul2eWPlfIfuq2gfLCQCHy4x6aQeQk/Yih61XEDZnJN6Sh+v48Y6o+0+3\n"
    "9gSRMwXnyZYDY8Ja42R6RLruydmB4wJBALP+zJSFpqE/d+ngW9Cb+CSQWgSE0wPb\n"
    "If3ZW6IgObgQ8rXlvCE6h9CElUL2QinEzvOhKArYP2DwXmZSz0k3pwECQHRS5Tb4\n"
    "wjNpEtspCGy6Iqs2hDvfhUKgprB0RrQWnrsqfufwCg53ELuIvucOhfA+btgrJYF6\n"
    "hOPIo9HyZcF3Z3I=\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n",
};
enum { KINDS = 2 }; /* DKIM_RSA, DKIM_ED25519 */

static bool blank_at(struct slice s, size_t i)
{
    return i < s.n && (s.p[i] == ' ' || s.p[i] == '\t');
}

/* The field that s begins with, its folds and last CRLF included; empty: it begins with none. */
static struct slice field_of(struct slice s)
{
    size_t name = 0, n;
    while (name < s.n && s.p[name] > ' ' && s.p[name] < 127 && s.p[name] != ':')
        name++;
    for (n = name; blank_at(s, n);)
        n++;
    if (name == 0 || n == s.n || s.p[n] != ':')
        return SLICE_NONE;
    do
        n += slice_find_slice(slice_skip(s, n), SLICE_LIT("\r\n")) + 2;
    while (blank_at(s, n));
    return slice_head(s, n);
}

static struct slice name_of(struct slice field)
{
    size_t n = 0;
    while (field.p[n] != ':' && !blank_at(field, n))
        n++;
    return slice_head(field, n);
}

/* The last field of this name but `skip` of them. */
static struct slice from_bottom(struct slice section, struct slice name, size_t skip)
{
    size_t all = 0, at = 0;
    struct slice f;
    for (struct slice s = section; (f = field_of(s)).n > 0; s = slice_skip(s, f.n))
        all += slice_ieq(name_of(f), name);
    for (struct slice s = section; (f = field_of(s)).n > 0; s = slice_skip(s, f.n))
        if (slice_ieq(name_of(f), name) && ++at + skip == all)
            return f;
    return SLICE_NONE;
}

/* Section 3.4.2, without the CRLF at its end. */
static void slow_field(struct slice field, struct buf *out)
{
    const struct slice name = name_of(field);
    struct buf flat = BUF_MAX(field.n + 1);
    for (size_t i = 0; i < field.n; i++)
        if (slice_find_slice(slice_skip(field, i), SLICE_LIT("\r\n")) != 0)
            buf_add_u8(&flat, field.p[i]);
        else
            i++;
    buf_add_u8(&flat, '.'); /* slow_line looks one ahead */
    struct slice value = slice_head(buf_slice(&flat), flat.n - 1);
    value = slice_skip(value, slice_find(value, ':') + 1);
    while (blank_at(value, 0))
        value = slice_skip(value, 1);
    for (size_t i = 0; i < name.n; i++)
        buf_add_u8(out, byte_lower(name.p[i]));
    buf_add_u8(out, ':');
    slow_line(value, out);
    buf_done(&flat);
}

/* Of "name=value; …", without any blanks. */
static struct buf tag(struct slice field, const char *name)
{
    struct buf value = BUF_MAX(field.n);
    struct slice rest = slice_skip(field, slice_find(field, ':') + 1);
    while (rest.n > 0) {
        struct slice text = slice_cut(&rest, ';');
        if (!slice_eq(slice_trim(slice_cut(&text, '=')), slice_str(name)))
            continue;
        for (size_t i = 0; i < text.n; i++)
            if (text.p[i] > ' ')
                buf_add_u8(&value, text.p[i]);
        return value;
    }
    MUST(false);
}

static bool tag_is(struct slice field, const char *name, struct slice want)
{
    struct buf value = tag(field, name);
    const bool same = slice_eq(buf_slice(&value), want);
    buf_done(&value);
    return same;
}

/* What h= names, and the signature's own field with nothing behind its last "b=". */
static struct buf signed_text(struct slice own, struct slice section)
{
    struct buf text = BUF_MAX(section.n * 2 + own.n * 2), names = tag(own, "h");
    size_t b = 0;
    for (struct slice done = buf_slice(&names), rest = done; rest.n > 0;) {
        const struct slice before = slice_head(done, done.n - rest.n), name = slice_cut(&rest, ':');
        size_t skip = 0;
        for (struct slice s = before; s.n > 0;)
            skip += slice_eq(slice_cut(&s, ':'), name);
        const struct slice f = from_bottom(section, name, skip);
        if (f.n > 0) {
            slow_field(f, &text);
            buf_add_str(&text, "\r\n");
        }
    }
    for (size_t at; (at = slice_find_slice(slice_skip(own, b), SLICE_LIT("\tb="))) < own.n - b;)
        b += at + 3;
    slow_field(slice_head(own, b), &text);
    MUST(b > 0 && !text.overflow);
    buf_done(&names);
    return text;
}

static EVP_PKEY *pkey_of(unsigned kind)
{
    static EVP_PKEY *keys[KINDS];
    if (!keys[kind]) {
        BIO *bio = BIO_new_mem_buf(pems[kind], -1);
        keys[kind] = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
    }
    return keys[kind];
}

static bool is_signature_of(unsigned kind, struct slice signature, struct slice text)
{
    uint8_t hash[DKIM_HASH_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    MUST(EVP_Digest(text.p, text.n, hash, NULL, EVP_sha256(), NULL) == 1);
    MUST(EVP_DigestVerifyInit(c, NULL, kind == DKIM_RSA ? EVP_sha256() : NULL, NULL,
                              pkey_of(kind)) == 1);
    if (kind == DKIM_ED25519) /* RFC 8463 section 3 */
        text = slice_of(hash, sizeof hash);
    const bool good = EVP_DigestVerify(c, signature.p, signature.n, text.p, text.n) == 1;
    EVP_MD_CTX_free(c);
    return good;
}

static bool verifies(unsigned kind, struct slice own, struct slice section, struct slice body)
{
    uint8_t hash[DKIM_HASH_SIZE];
    struct buf canonical = slow(body), text = signed_text(own, section), b = tag(own, "b"),
               bh = BUF_MAX(64), signature = BUF_MAX(DKIM_FIELDS_MAX);
    MUST(EVP_Digest(canonical.p ? canonical.p : (const uint8_t *)"", canonical.n, hash, NULL,
                    EVP_sha256(), NULL) == 1);
    MUST(base64_encode(&bh, slice_of(hash, sizeof hash)) &&
         base64_decode(&signature, buf_slice(&b)));
    const bool good = tag_is(own, "bh", buf_slice(&bh)) &&
                      is_signature_of(kind, buf_slice(&signature), buf_slice(&text));
    buf_done(&canonical);
    buf_done(&text);
    buf_done(&b);
    buf_done(&bh);
    buf_done(&signature);
    return good;
}

/* ---- the signer ---- */

/* For every author: the keys sign for a domain that is all that the input may have. */
static const struct dkim_ring *ring_of(const char *name)
{
    static struct dkim_ring *ring;
    struct dkim_domain d = {.n = KINDS, .keys = {{.selector = "r.s"}, {.selector = "e"}}};
    struct err e;
    dkim_ring_free(ring);
    ring = dkim_ring_new();
    memcpy(d.name, name, strlen(name) + 1);
    for (unsigned k = 0; k < KINDS; k++)
        MUST(dkim_key_read(&d.keys[k].key, slice_str(pems[k]), &e) == 0);
    dkim_ring_add(ring, &d);
    return ring;
}

static struct buf sign(const struct dkim_ring *ring, struct slice section, struct slice body,
                       size_t step)
{
    struct buf out = BUF_MAX(DKIM_FIELDS_MAX), place = BUF_MAX(DKIM_FIELDS_MAX);
    struct dkim_sign *s =
        dkim_sign_new(ring, section, (struct wall){INT64_C(1700000000) * WALL_SECOND});
    MUST(s);
    const size_t size = dkim_sign_size(s);
    dkim_sign_reserve(s, &place);
    for (; body.n > 0; body = slice_skip(body, step))
        dkim_sign_body(s, slice_head(body, step));
    dkim_sign_end(s, &out);
    MUST(!out.overflow && out.n == size && place.n == size);
    dkim_sign_free(s);
    buf_done(&place);
    return out;
}

/* No CR or LF stands alone: intake refuses those. */
static bool is_lines(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r')) ||
            (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n')))
            return false;
    return true;
}

static void check_signature(unsigned kind, struct slice own, struct slice section,
                            struct slice body, const char *author)
{
    struct buf forged = BUF_MAX(section.n + 64), longer = BUF_MAX(body.n + 1);
    MUST(field_of(own).n == own.n && slice_eq(name_of(own), SLICE_LIT("DKIM-Signature")));
    MUST(tag_is(own, "d", slice_str(author)));
    MUST(
        tag_is(own, "a", kind == DKIM_RSA ? SLICE_LIT("rsa-sha256") : SLICE_LIT("ed25519-sha256")));
    buf_add_str(&forged, "From: eve@example.net\r\n");
    buf_add(&forged, section);
    buf_add(&longer, body);
    buf_add_u8(&longer, 'x');
    MUST(verifies(kind, own, section, body));
    /* Two authors are refused by intake; of so many not all are signed. */
    if (from_bottom(section, SLICE_LIT("From"), DKIM_INSTANCES_MAX).n == 0)
        MUST(!verifies(kind, own, buf_slice(&forged), body));
    MUST(!verifies(kind, own, section, buf_slice(&longer)));
    buf_done(&forged);
    buf_done(&longer);
}

static void check_signatures(struct slice message, size_t step)
{
    char author[DNS_NAME_SIZE], same[DNS_NAME_SIZE];
    const size_t end = slice_find_slice(message, SLICE_LIT("\r\n\r\n"));
    const struct slice section = slice_head(message, end + 2), body = slice_skip(message, end + 4);
    if (!dkim_author(section, author))
        return;
    const struct dkim_ring *ring = ring_of(author);
    struct buf out = sign(ring, section, body, body.n + 1),
               pieces = sign(ring, section, body, step),
               whole = BUF_MAX(DKIM_FIELDS_MAX + message.n);
    MUST(slice_eq(buf_slice(&out), buf_slice(&pieces)));
    struct slice rest = buf_slice(&out);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        const struct slice own = field_of(rest);
        if (is_lines(section))
            check_signature(kind, own, section, body, author);
        rest = slice_skip(rest, own.n);
    }
    MUST(rest.n == 0);
    buf_add(&whole, buf_slice(&out));
    buf_add(&whole, message);
    MUST(dkim_author(buf_slice(&whole), same) && strcmp(author, same) == 0);
    buf_done(&out);
    buf_done(&pieces);
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
    check_signatures(message, data[0] ? data[0] : 1000);
    return 0;
}
