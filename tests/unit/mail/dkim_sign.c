/*
 * Which mail is signed by whom, and what of it: a field that is left out can be changed, or put
 * above the one that was signed, by whoever replays the mail. (That the sums are right is shown by
 * dkim.c and by other people's verifiers, e2e/test_dkim.py.)
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/dkim_canon.h"
#include "relay/mail/dkim_priv.h"
#include "relay/mail/header.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct dkim_key *key(enum dkim_kind kind, unsigned bits)
{
    DEFER(buf_done) struct buf pem = BUF_MAX(DKIM_KEY_PEM_MAX);
    struct dkim_key *k = NULL;
    struct err e;
    assert_int_equal(dkim_key_make(kind, bits, &pem, &e), 0);
    assert_int_equal(dkim_key_read(&k, buf_slice(&pem), &e), 0);
    return k;
}

static void add(struct dkim_ring *r, const char *name, bool subdomains)
{
    struct dkim_domain d = {.subdomains = subdomains, .n = 1};
    snprintf(d.name, sizeof d.name, "%s", name);
    snprintf(d.keys[0].selector, sizeof d.keys[0].selector, "s1");
    d.keys[0].key = key(DKIM_ED25519, 0);
    dkim_ring_add(r, &d);
}

/* ---- whose ---- */

static void domains(void **state)
{
    (void)state;
    static const struct {
        const char *author, *signer; /* NULL: nobody */
    } rows[] = {
        {"example.com", "example.com"},
        {"www.example.com", NULL},
        {"a.example.net", "example.net"},
        {"b.a.example.net", "example.net"},
        {"own.example.net", "own.example.net"},
        {"a.own.example.net", "example.net"}, /* that one is for itself only */
        {"xexample.net", NULL},
        {"net", NULL},
        {"", NULL},
        {"example.co", NULL},
        {"example.comx", NULL},
    };
    struct dkim_ring *r = dkim_ring_new();
    assert_null(dkim_ring_find(r, SLICE_LIT("example.com")));
    assert_null(dkim_ring_find(NULL, SLICE_LIT("example.com")));
    add(r, "own.example.net", false);
    add(r, "example.net", true);
    add(r, "zzz.test", false);
    add(r, "example.com", false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct dkim_domain *d = dkim_ring_find(r, slice_str(rows[i].author));
        assert_int_equal(d == NULL, rows[i].signer == NULL);
        if (d)
            assert_string_equal(d->name, rows[i].signer);
    }
    dkim_ring_free(r);
    dkim_ring_free(NULL);
}

static void authors(void **state)
{
    (void)state;
    static const struct {
        const char *section, *domain; /* NULL: none */
    } rows[] = {
        {"From: ann@example.com\r\n\r\n", "example.com"},
        {"Subject: x\r\nFROM :\r\n Ann <ann@Example.COM>\r\n", "example.com"},
        {"From: \"a@b.test\" <ann@example.com>, bob@other.test\r\n", "example.com"},
        {"From: ann@m\xc3\xbcller.test\r\n", "xn--mller-kva.test"},
        {"From: j\xc3\xb6rg@M\xc3\x9cLLER.test\r\n", "xn--mller-kva.test"},
        {"From: ann@xn--mller-kva.test\r\n", "xn--mller-kva.test"},
        {"From: team: ann@example.com;\r\n", "example.com"},
        {"From: undisclosed:;\r\n", NULL},
        {"From: ann\r\n", NULL},
        {"From:\r\n", NULL},
        {"From: ann@[192.0.2.1]\r\n", NULL},
        {"Sender: ann@example.com\r\n\r\n", NULL},
        {"", NULL},
        {"Subject: x\r\n\r\nFrom: ann@example.com\r\n", NULL}, /* that is the body */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char domain[DNS_NAME_SIZE] = "";
        assert_int_equal(dkim_author(slice_str(rows[i].section), domain), rows[i].domain != NULL);
        assert_string_equal(domain, rows[i].domain ? rows[i].domain : "");
    }
}

static void selectors(void **state)
{
    (void)state;
    static const char l63[] = "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz";
    static const char *const good[] = {"s2026", "2026", "a", "mail.corp", "a-b", l63, "1.2"};
    static const char *const bad[] = {"",   "S2026", "a_b", "-a",       "a-",  "a..b",
                                      ".a", "a.",    "a b", "\xc3\xb6", "a-.b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(dkim_selector_ok(slice_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(dkim_selector_ok(slice_str(bad[i])));
    char l64[65];
    snprintf(l64, sizeof l64, "%sx", l63);
    assert_false(dkim_selector_ok(slice_str(l64)));
}

/* ---- what of it ---- */

#define NONE_OF_MORE                                                                               \
    "reply-to:subject:date:message-id:to:cc:mime-version:content-type:content-transfer-encoding"

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *section, *names;
    } rows[] = {
        {"From: a@b.test\r\n", "from:from:" NONE_OF_MORE},
        /* What others write on the way, or take off, and what is nobody's business */
        {"Received: x\r\nReturn-Path: <a@b.test>\r\nBcc: c@d.test\r\nAuthentication-Results: x\r\n"
         "DKIM-Signature: v=1\r\nARC-Seal: i=1\r\nX-Mailer: y\r\nComments: z\r\nKeywords: k\r\n"
         "Delivered-To: x\r\nFrom: a@b.test\r\n",
         "from:from:" NONE_OF_MORE},
        {"Subject: x\r\nfrom: a@b.test\r\nsubject : y\r\nTo: c@d.test\r\n",
         "from:from:reply-to:subject:subject:subject:date:message-id:to:to:cc:mime-version:content-"
         "type:content-transfer-encoding"},
        /* Mailing lists and who sends again write their own; what is there is signed */
        {"From: a@b.test\r\nSender: s@b.test\r\nList-Unsubscribe: <https://b.test/u>\r\n"
         "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nReferences: <1@b>\r\n",
         "from:from:" NONE_OF_MORE ":sender:references:list-unsubscribe:list-unsubscribe-post"},
        /* So many are a fault of somebody's, and cost no more than this */
        {"From: a@b.test\r\nTo: 1\r\nTo: 2\r\nTo: 3\r\nTo: 4\r\nTo: 5\r\nCc: 1\r\nCc: 2\r\n"
         "Cc: 3\r\nCc: 4\r\n",
         "from:from:reply-to:subject:date:message-id:to:to:to:to:cc:cc:cc:cc:cc:mime-version:"
         "content-type:content-transfer-encoding"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf out = BUF_MAX(4096);
        struct dkim_fields f = {0};
        dkim_fields_look(&f, slice_str(rows[i].section));
        dkim_fields_names(&f, &out);
        assert_string_equal(buf_str(&out), rows[i].names);
    }
}

/* RFC 6376 section 5.4.2: of one name from the bottom up. */
static void from_the_bottom(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf out = BUF_MAX(4096);
    struct dkim_fields f = {0};
    dkim_fields_look(&f, SLICE_LIT("To: 1\r\nSubject:  a\r\n  b\r\nTo: 2\r\nTo: 3\r\nTo: 4\r\n"
                                   "To: 5\r\nFrom: x@y.test"));
    dkim_fields_canon(&f, &out);
    assert_string_equal(buf_str(&out),
                        "from:x@y.test\r\nsubject:a b\r\nto:5\r\nto:4\r\nto:3\r\nto:2\r\n");
}

/* ---- the field ---- */

#define SECTION                                                                                    \
    "Received: by relay.test\r\nFrom: Ann <ann@example.com>\r\nTo: bob@d.test\r\nSubject: hi\r\n"
static const struct wall now = {INT64_C(1700000000) * WALL_SECOND};

static struct buf sign(const struct dkim_ring *r, struct slice section, struct slice body,
                       size_t step)
{
    struct buf kept = BUF_MAX(DKIM_FIELDS_MAX), out = BUF_MAX(DKIM_FIELDS_MAX + 1);
    struct dkim_sign *s = dkim_sign_new(r, section, now);
    assert_non_null(s);
    dkim_sign_reserve(s, &kept);
    for (; body.n > 0; body = slice_skip(body, step))
        dkim_sign_body(s, slice_head(body, step));
    assert_int_equal(dkim_sign_size(s), kept.n);
    dkim_sign_end(s, &out);
    assert_false(out.overflow || kept.overflow);
    assert_int_equal(out.n, kept.n); /* it goes where the other one lies */
    assert_true(slice_starts(buf_slice(&out), SLICE_LIT("DKIM-Signature: v=1; a=")));
    assert_false(slice_eq(buf_slice(&out), buf_slice(&kept)));
    dkim_sign_free(s);
    buf_done(&kept);
    return out;
}

/* ---- a verifier: what it says of the field at the top of `section` (RFC 6376 section 6.1) ---- */

static struct slice tag(struct slice field, const char *name)
{
    char start[8];
    snprintf(start, sizeof start, "%s=", name);
    slice_cut(&field, ':');
    while (field.n > 0) {
        const struct slice one = slice_trim(slice_cut(&field, ';'));
        if (slice_starts(one, slice_str(start)))
            return slice_skip(one, strlen(start));
    }
    return SLICE_NONE;
}

/* The n-th field of a name, from the bottom, 0 the last one; "" when there are not so many. */
static struct slice from_bottom(struct slice section, struct slice name, size_t n)
{
    struct slice found[64], rest = section;
    struct header_field f;
    size_t k = 0;
    while (k < 64 && header_next(&rest, &f))
        if (slice_ieq(f.name, name))
            found[k++] = f.raw;
    return n < k ? found[k - 1 - n] : SLICE_NONE;
}

static bool verifies(const char *pem, struct slice section)
{
    DEFER(buf_done)
    struct buf text = BUF_MAX(1 << 16), unsigned_field = BUF_MAX(8192), folded = BUF_MAX(200),
               signature = BUF_MAX(200);
    struct header_field own;
    char seen[64][64];
    size_t n_seen = 0;
    assert_true(header_next(&section, &own));
    for (struct slice names = tag(own.raw, "h"); names.n > 0;) {
        const struct slice name = slice_trim(slice_cut(&names, ':'));
        size_t before = 0;
        for (size_t i = 0; i < n_seen; i++)
            before += slice_eq(slice_str(seen[i]), name);
        snprintf(seen[n_seen++], 64, "%.*s", SLICE_ARG(name));
        const struct slice raw = from_bottom(section, name, before);
        if (raw.n > 0) {
            dkim_canon_field(&text, raw);
            buf_add_str(&text, "\r\n");
        }
    }
    const struct slice b = tag(own.raw, "b");
    buf_add(&unsigned_field, slice_head(own.raw, (size_t)(b.p - own.raw.p)));
    dkim_canon_field(&text, buf_slice(&unsigned_field));
    for (size_t i = 0; i < b.n; i++)
        if (!strchr("\r\n\t ", b.p[i]))
            buf_add_u8(&folded, b.p[i]);
    assert_true(base64_decode(&signature, buf_slice(&folded)));
    uint8_t hash[DKIM_HASH_SIZE];
    assert_int_equal(EVP_Digest(text.p, text.n, hash, NULL, EVP_sha256(), NULL), 1);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    EVP_DigestVerifyInit(c, NULL, NULL, NULL, key);
    const bool good = EVP_DigestVerify(c, signature.p, signature.n, hash, sizeof hash) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return good;
}

/* The sum is over these fields, in this order, and the last of them is the signature's own. */
static void the_sum(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf pem = BUF_MAX(DKIM_KEY_PEM_MAX);
    struct err e;
    struct dkim_ring *r = dkim_ring_new();
    struct dkim_domain d = {.name = "example.com", .n = 1, .keys = {{.selector = "s1"}}};
    assert_int_equal(dkim_key_make(DKIM_ED25519, 0, &pem, &e), 0);
    assert_int_equal(dkim_key_read(&d.keys[0].key, buf_slice(&pem), &e), 0);
    dkim_ring_add(r, &d);
    static const char *const sections[] = {
        SECTION,
        "Cc: 1\r\nTo: a@b.test\r\nCC: 2\r\nFrom : Ann\r\n\t<ann@example.com>  \r\ncc: 3\r\n"
        "List-Id: <a>\r\nX-A: b\r\nSubject:\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        struct buf all = sign(r, slice_str(sections[i]), SLICE_LIT("a  b\r\n\r\nc\r\n"), 2);
        all.max += 4096;
        buf_add_str(&all, sections[i]);
        assert_true(verifies(buf_str(&pem), buf_slice(&all)));
        /* A word of the signature's own tags is signed as well. */
        uint8_t *digit = all.p + slice_find_slice(buf_slice(&all), SLICE_LIT(" t=17")) + 5;
        *digit ^= 1;
        assert_false(verifies(buf_str(&pem), buf_slice(&all)));
        *digit ^= 1;
        all.p[all.n - 4] ^= 1; /* in the last field */
        assert_int_equal(verifies(buf_str(&pem), buf_slice(&all)), false);
        buf_done(&all);
    }
    dkim_ring_free(r);
}

static void check_lines(struct slice field, size_t most)
{
    assert_true(field.p[field.n - 1] == '\n');
    while (field.n > 0) {
        const size_t n = slice_find_slice(field, SLICE_LIT("\r\n"));
        /* a tab is up to 8 columns */
        assert_true((field.p[0] == '\t' ? n + 7 : n) <= most);
        assert_true(n > 0);
        field = slice_skip(field, n + 2);
    }
}

static void one_field(void **state)
{
    (void)state;
    struct dkim_ring *r = dkim_ring_new();
    add(r, "example.com", false);
    struct buf a = sign(r, SLICE_LIT(SECTION), SLICE_LIT("hello \r\n\r\n"), 1);
    struct buf b = sign(r, SLICE_LIT(SECTION "\r\n"), SLICE_LIT("hello\r\n"), 100);
    const char *text = buf_str(&a);
    assert_string_equal(text, buf_str(&b)); /* Ed25519 makes one signature of one sum */
    assert_non_null(strstr(text, "a=ed25519-sha256; c=relaxed/relaxed; d=example.com;"));
    assert_non_null(strstr(text, "\r\n\ts=s1; t=1700000000;\r\n\th=from:from:reply-to:"));
    assert_non_null(strstr(text, "\r\n\tbh=zS7KNTV0HyeorkDDGwxB1AV6enuRKzO5rthkhdHIRnY=;\r\n\tb="));
    assert_null(strstr(text, " l="));
    assert_null(strstr(text, " x="));
    assert_null(strstr(text, " i="));
    check_lines(buf_slice(&a), 78);
    buf_done(&a);
    buf_done(&b);
    /* One more space in a word is another mail; so is another author's name. */
    a = sign(r, SLICE_LIT(SECTION), SLICE_LIT("hello\r\n"), 3);
    b = sign(r, SLICE_LIT(SECTION), SLICE_LIT("hel lo\r\n"), 3);
    assert_string_not_equal(buf_str(&a), buf_str(&b));
    buf_done(&b);
    b = sign(r, SLICE_LIT("From: Eve <ann@example.com>\r\nTo: bob@d.test\r\nSubject: hi\r\n"),
             SLICE_LIT("hello\r\n"), 3);
    assert_string_not_equal(buf_str(&a), buf_str(&b));
    buf_done(&b);
    /* What is not signed may be anything. */
    b = sign(r, SLICE_LIT("X-A: b\r\n" SECTION "Received: y\r\n"), SLICE_LIT("hello\r\n"), 3);
    assert_string_equal(buf_str(&a), buf_str(&b));
    buf_done(&a);
    buf_done(&b);
    assert_null(dkim_sign_new(r, SLICE_LIT("From: a@other.test\r\n"), now));
    assert_null(dkim_sign_new(r, SLICE_LIT("Subject: no author\r\n"), now));
    assert_null(dkim_sign_new(NULL, SLICE_LIT(SECTION), now));
    dkim_ring_free(r);
}

/* All that can be long, long: three keys, all fields many times. */
static void the_largest(void **state)
{
    (void)state;
    struct dkim_ring *r = dkim_ring_new();
    struct dkim_domain d = {.n = DKIM_KEYS_MAX};
    struct buf section = BUF_MAX(1 << 20);
    for (size_t i = 0; i < 253; i++)
        d.name[i] = i % 60 == 59 ? '.' : 'a';
    buf_addf(&section, "From: a@%s\r\n", d.name);
    for (size_t i = 0; i < 10; i++) {
#define X(name, more) buf_add_str(&section, name ": text\r\n");
#include "relay/mail/dkim_fields.def"
#undef X
    }
    for (size_t i = 0; i < d.n; i++) {
        memset(d.keys[i].selector, 'a' + (int)i, DKIM_SELECTOR_MAX);
        d.keys[i].key = key(DKIM_RSA, DKIM_RSA_BITS_MAX);
    }
    dkim_ring_add(r, &d);
    struct buf out = sign(r, buf_slice(&section), SLICE_LIT("x\r\n"), 1);
    assert_true(out.n <= DKIM_FIELDS_MAX && out.n > DKIM_FIELDS_MAX / 2);
    check_lines(buf_slice(&out), 270); /* a domain cannot be folded */
    buf_done(&out);
    buf_done(&section);
    dkim_ring_free(r);
}

static void whole_messages(void **state)
{
    (void)state;
    struct dkim_ring *r = dkim_ring_new();
    add(r, "example.com", false);
    struct buf a = sign(r, SLICE_LIT(SECTION), SLICE_LIT("x\r\n\r\ny\r\n"), 2);
    struct buf b = BUF_MAX(DKIM_FIELDS_MAX), none = BUF_MAX(DKIM_FIELDS_MAX);
    assert_true(dkim_sign_message(r, SLICE_LIT(SECTION "\r\nx\r\n\r\ny\r\n"), now, &b));
    assert_true(slice_eq(buf_slice(&a), buf_slice(&b)));
    assert_false(dkim_sign_message(r, SLICE_LIT("From: a@b.test\r\n\r\nx\r\n"), now, &none));
    assert_int_equal(none.n, 0);
    /* without a body, and without an end */
    assert_true(dkim_sign_message(r, SLICE_LIT(SECTION "\r\n"), now, &none));
    assert_true(dkim_sign_message(r, SLICE_LIT(SECTION), now, &none));
    buf_done(&a);
    buf_done(&b);
    buf_done(&none);
    dkim_ring_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains),         cmocka_unit_test(authors),
        cmocka_unit_test(selectors),       cmocka_unit_test(names),
        cmocka_unit_test(from_the_bottom), cmocka_unit_test(one_field),
        cmocka_unit_test(the_sum),         cmocka_unit_test(the_largest),
        cmocka_unit_test(whole_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
