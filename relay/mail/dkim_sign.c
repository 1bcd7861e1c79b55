/*
 * RFC 6376 section 3.7: a signature is over the hash of the header fields that h= names and, last,
 * of its own field with an empty b=; that field has the hash of the body. The hash of the fields is
 * begun once, when the header section has ended, and goes on from there for each key.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/dkim_canon.h"
#include "relay/mail/dkim_priv.h"
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LINE_WANTED = 76, /* columns, of 78 */
    NAMES_MAX = 4096, /* of h=; dkim_fields.def with DKIM_INSTANCES_MAX of each is less */
    STEM_MAX = 2 * NAMES_MAX,
    BASE64_MAX = (DKIM_RSA_BITS_MAX / 8 + 2) / 3 * 4
};

struct dkim_sign {
    const struct dkim_domain *domain;
    struct wall now;
    EVP_MD_CTX *fields, *content;
    struct dkim_body body;
    struct buf names;
};

static void hash_piece(void *ctx, struct slice octets)
{
    MUST(EVP_DigestUpdate(ctx, octets.p, octets.n) == 1);
}

static EVP_MD_CTX *hash_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    MUST(c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1);
    return c;
}

/* Of what has come; c is over then. */
static void hash_end(EVP_MD_CTX *c, uint8_t ret[DKIM_HASH_SIZE])
{
    unsigned n = 0;
    MUST(EVP_DigestFinal_ex(c, ret, &n) == 1 && n == DKIM_HASH_SIZE);
}

static void look(struct dkim_sign *s, struct slice section)
{
    struct dkim_fields fields = {0};
    DEFER(buf_done) struct buf canon = BUF_MAX(2 * section.n + 64);
    dkim_fields_look(&fields, section);
    dkim_fields_names(&fields, &s->names);
    dkim_fields_canon(&fields, &canon);
    MUST(!s->names.overflow);
    hash_piece(s->fields, buf_slice(&canon));
}

struct dkim_sign *dkim_sign_new(const struct dkim_ring *r, struct slice section, struct wall now)
{
    char author[DNS_NAME_SIZE];
    if (!r || !dkim_author(section, author))
        return NULL;
    const struct dkim_domain *d = dkim_ring_find(r, slice_str(author));
    if (!d)
        return NULL;
    struct dkim_sign *s = must_alloc(sizeof *s);
    s->domain = d;
    s->now = now;
    s->fields = hash_new();
    s->content = hash_new();
    s->body.sink = hash_piece;
    s->body.ctx = s->content;
    s->names = BUF_MAX(NAMES_MAX);
    look(s, section);
    return s;
}

void dkim_sign_free(struct dkim_sign *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->fields);
    EVP_MD_CTX_free(s->content);
    buf_done(&s->names);
    free(s);
}

void dkim_sign_body(struct dkim_sign *s, struct slice piece)
{
    dkim_body_bytes(&s->body, piece);
}

/* ---- the field ---- */

/* Appends one tag behind those before it, on a line of its own where it does not fit. */
static void add_tag(struct buf *out, size_t *column, const char *text)
{
    const size_t n = strlen(text);
    const bool fits = *column + 1 + n <= LINE_WANTED;
    buf_add_str(out, fits ? " " : "\r\n\t");
    buf_add_str(out, text);
    *column = (fits ? *column : 8) + 1 + n;
}

/* Folded where RFC 6376 section 3.5 lets a list be: behind a colon. */
static void add_names(struct buf *out, struct slice names)
{
    buf_add_str(out, "\r\n\th=");
    for (size_t column = 10; names.n > 0;) {
        const struct slice name = slice_cut(&names, ':');
        if (column + name.n + 1 > LINE_WANTED) {
            buf_add_str(out, "\r\n\t");
            column = 8;
        }
        buf_add(out, name);
        buf_add_u8(out, names.n > 0 ? ':' : ';');
        column += name.n + 1;
    }
}

/* The field up to its "b=", which is what is signed of it. */
static void write_stem(const struct dkim_sign *s, size_t i, const char *body_hash, struct buf *out)
{
    char text[DNS_NAME_SIZE + 16];
    size_t column = strlen("DKIM-Signature: v=1;");
    buf_add_str(out, "DKIM-Signature: v=1;");
    snprintf(text, sizeof text, "a=%s-sha256;", dkim_key_name(s->domain->keys[i].key));
    add_tag(out, &column, text);
    add_tag(out, &column, "c=relaxed/relaxed;");
    snprintf(text, sizeof text, "d=%s;", s->domain->name);
    add_tag(out, &column, text);
    snprintf(text, sizeof text, "s=%s;", s->domain->keys[i].selector);
    add_tag(out, &column, text);
    snprintf(text, sizeof text, "t=%" PRId64 ";", s->now.us / WALL_SECOND);
    add_tag(out, &column, text);
    add_names(out, buf_slice(&s->names));
    buf_addf(out, "\r\n\tbh=%s;\r\n\tb=", body_hash);
}

static void add_signature(struct buf *out, struct slice base64)
{
    for (size_t column = 10; base64.n > 0; column = 8) {
        const struct slice part = slice_head(base64, LINE_WANTED - column);
        buf_add(out, part);
        base64 = slice_skip(base64, part.n);
        buf_add_str(out, base64.n > 0 ? "\r\n\t" : "\r\n");
    }
}

#define NO_HASH "00000000000000000000000000000000000000000000" /* as long as one in base 64 */

void dkim_sign_reserve(const struct dkim_sign *s, struct buf *out)
{
    for (size_t i = 0; i < s->domain->n; i++) {
        const size_t raw = dkim_key_signature_size(s->domain->keys[i].key);
        char zeros[BASE64_MAX];
        memset(zeros, '0', sizeof zeros);
        write_stem(s, i, NO_HASH, out);
        add_signature(out, slice_of(zeros, (raw + 2) / 3 * 4));
    }
}

size_t dkim_sign_size(const struct dkim_sign *s)
{
    DEFER(buf_done) struct buf fields = BUF_MAX(DKIM_FIELDS_MAX);
    dkim_sign_reserve(s, &fields);
    MUST(!fields.overflow);
    return fields.n;
}

static void sign_with(const struct dkim_sign *s, size_t i, const char *body_hash, struct buf *out)
{
    DEFER(buf_done)
    struct buf stem = BUF_MAX(STEM_MAX), canon = BUF_MAX(STEM_MAX), raw = BUF_MAX(BASE64_MAX),
               text = BUF_MAX(BASE64_MAX);
    uint8_t hash[DKIM_HASH_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    MUST(c && EVP_MD_CTX_copy_ex(c, s->fields) == 1);
    write_stem(s, i, body_hash, &stem);
    dkim_canon_field(&canon, buf_slice(&stem));
    MUST(!stem.overflow && !canon.overflow);
    hash_piece(c, buf_slice(&canon));
    hash_end(c, hash);
    EVP_MD_CTX_free(c);
    dkim_key_sign(s->domain->keys[i].key, hash, &raw);
    MUST(base64_encode(&text, buf_slice(&raw)));
    buf_add(out, buf_slice(&stem));
    add_signature(out, buf_slice(&text));
}

void dkim_sign_end(struct dkim_sign *s, struct buf *out)
{
    DEFER(buf_done) struct buf text = BUF_MAX(64);
    uint8_t hash[DKIM_HASH_SIZE];
    dkim_body_end(&s->body);
    hash_end(s->content, hash);
    MUST(base64_encode(&text, slice_of(hash, sizeof hash)));
    const char *body_hash = buf_str(&text);
    for (size_t i = 0; i < s->domain->n; i++)
        sign_with(s, i, body_hash, out);
}

bool dkim_sign_message(const struct dkim_ring *r, struct slice message, struct wall now,
                       struct buf *out)
{
    const size_t end = slice_find_slice(message, SLICE_LIT("\r\n\r\n"));
    struct dkim_sign *s = dkim_sign_new(r, slice_head(message, end + 2), now);
    if (!s)
        return false;
    dkim_sign_body(s, slice_skip(message, end + 4));
    dkim_sign_end(s, out);
    dkim_sign_free(s);
    return true;
}
