/* Re-encoding of BINARYMIME content: what comes out for what comes in, for any pieces. If this
 * breaks, attachments arrive damaged or messages fall apart. What readers make of the result is
 * judged by tests/e2e/test_reencode.py. */
#include "relay/mail/reencode.h"
#include "relay/base/clock.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/mime.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX ((size_t)64 << 20)
#define MULTI "Content-Type: multipart/mixed; boundary=b\r\n"
#define BINARY "Content-Transfer-Encoding: binary\r\n"
#define BASE64 "Content-Transfer-Encoding: base64\r\n"

static bool convert(struct slice in, size_t piece, struct buf *out)
{
    struct reencode *r = reencode_new();
    bool ok = true;
    for (; ok && in.n > 0; in = slice_skip(in, piece)) {
        DEFER_FREE char *copy = slice_dup(slice_head(in, piece));
        ok = reencode_bytes(r, slice_of(copy, piece < in.n ? piece : in.n), out);
    }
    ok = ok && reencode_end(r, out);
    assert_int_equal(ok, reencode_problem(r)[0] == 0);
    reencode_free(r);
    return ok;
}

/* out NULL: refused. Same: it stays as it is. */
#define SAME ((const char *)1)
static const struct {
    const char *about, *in, *out;
} rows[] = {
    {"nothing at all", "", ""},
    {"a header section only", "A: b\r\n", SAME},
    {"lines without MIME", "A: b\r\n\r\ntext\r\n", SAME},
    {"no header section", "\r\ntext", SAME},
    {"no MIME, no lines: RFC 1428", "A: b\r\n\r\na\nb",
     "A: b\r\n" BASE64 "MIME-Version: 1.0\r\nContent-Type: text/plain; "
     "charset=unknown-8bit\r\n\r\nYQpi\r\n"},
    {"no empty line behind the header section", "A: b\r\na\nb",
     "A: b\r\n" BASE64 "MIME-Version: 1.0\r\nContent-Type: text/plain; "
     "charset=unknown-8bit\r\n\r\nYQpi\r\n"},
    {"no empty line, but lines", "A: b\r\nno field\r\n", SAME},
    {"binary, its label stands where it stood",
     "MIME-Version: 1.0\r\nContent-Type: a/b\r\n" BINARY "X: y\r\n\r\nabc",
     "MIME-Version: 1.0\r\nContent-Type: a/b\r\n" BASE64 "X: y\r\n\r\nYWJj\r\n"},
    {"a label in folds and comments",
     "MIME-Version: 1.0\r\nContent-Type: a/b\r\ncontent-TRANSFER-encoding :\r\n (so\\)) BINARY "
     "(it is)\r\n\r\nabc",
     "MIME-Version: 1.0\r\nContent-Type: a/b\r\n" BASE64 "\r\nYWJj\r\n"},
    {"57 octets fill a line, 58 begin another",
     "MIME-Version: 1.0\r\nContent-Type: a/b\r\n" BINARY
     "\r\n012345678901234567890123456789012345678901234567890123456a",
     "MIME-Version: 1.0\r\nContent-Type: a/b\r\n" BASE64
     "\r\nMDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2\r\nYQ==\r"
     "\n"},
    {"the line end in front of a delimiter is the delimiter's",
     MULTI "\r\n--b\r\n" BINARY "\r\na\r\n\r\n--b\r\n" BINARY "\r\n\r\n--b--\r\n",
     MULTI "\r\n--b\r\n" BASE64 "\r\nYQ0K\r\n--b\r\n" BASE64 "\r\n--b--\r\n"},
    {"what a multipart says about its inside changes, too",
     MULTI BINARY "\r\n--b\r\n" BINARY "\r\na\r\n--b--",
     MULTI "Content-Transfer-Encoding: 8bit\r\n\r\n--b\r\n" BASE64 "\r\nYQ==\r\n--b--\r\n"},
    {"almost a delimiter", MULTI "\r\n--b\r\n\r\n--bb\r\n--\r\n-\r\n--b-\r\n --b\r\n--b--\r\n",
     SAME},
    {"padding of a delimiter", MULTI "\r\n--b \t\r\nA: b\r\n\r\nx\r\n--b-- \r\n", SAME},
    {"delimiters end what is inside of them, at any depth",
     MULTI "\r\n--b\r\nContent-Type: multipart/x; boundary=\"c c\"\r\n\r\n--c c\r\n" BINARY
           "\r\nx\r\n--b\r\n" BINARY "\r\n--c c\r\n--b--\r\n",
     MULTI "\r\n--b\r\nContent-Type: multipart/x; boundary=\"c c\"\r\n\r\n--c c\r\n" BASE64
           "\r\neA==\r\n--b\r\n" BASE64 "\r\nLS1jIGM=\r\n--b--\r\n"},
    {"a closed multipart's delimiter is text",
     MULTI "\r\n--b\r\n\r\nx\r\n--b--\r\n--b\r\n" BINARY "\r\nx\r\n", SAME},
    {"a part that ends in its header section", MULTI "\r\n--b\r\n" BINARY "--b--\r\n",
     MULTI "\r\n--b\r\n" BASE64 "\r\n--b--\r\n"},
    {"a message inside",
     "Content-Type: message/rfc822\r\n" BINARY
     "\r\nMIME-Version: 1.0\r\nContent-Type: x/y\r\n" BINARY "\r\n\n",
     "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nMIME-Version: "
     "1.0\r\nContent-Type: x/y\r\n" BASE64 "\r\nCg==\r\n"},
    {"a message inside that begins with no field",
     "Content-Type: message/rfc822\r\n\r\n no field\r\n", SAME},
    {"an encoded message is not looked into",
     "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" BINARY "\r\nx\r\n",
     SAME},
    {"other messages cannot be base64: lines they are, or nothing",
     "Content-Type: message/partial\r\n" BINARY "\r\nx\r\n",
     "Content-Type: message/partial\r\nContent-Transfer-Encoding: 8bit\r\n\r\nx\r\n"},
    {"other messages with bare LF", "Content-Type: message/partial\r\n" BINARY "\r\nx\n", NULL},
    {"a multipart without a boundary is a leaf",
     "MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n" BINARY "\r\n--b\r\n",
     "MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n" BASE64 "\r\nLS1iDQo=\r\n"},
    {"mbox line", "From me\r\nMIME-Version: 1.0\r\nContent-Type: x/y\r\n" BINARY "\r\nx",
     "From me\r\nMIME-Version: 1.0\r\nContent-Type: x/y\r\n" BASE64 "\r\neA==\r\n"},
    {"bare LF and CR in a header section", "A: b\nB: c\rd\r\n\r\nx\r\n",
     "A: b\r\nB: c d\r\n\r\nx\r\n"},
    {"quoted-printable with bare LF",
     "Content-Transfer-Encoding: quoted-printable\r\n\r\na=\nb\rc\r\n",
     "Content-Transfer-Encoding: quoted-printable\r\n\r\na=\r\nb c\r\n"},
    {"a second label", "Content-Transfer-Encoding: 7bit\r\n" BINARY "\r\nx\r\n",
     "Content-Transfer-Encoding: 7bit\r\n\r\nx\r\n"},
    {"digest", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n" BINARY "\r\nx",
     "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n" BASE64
     "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\r\neA==\r\n"},
};

static void test_rows(void **state)
{
    (void)state;
    static const size_t pieces[] = {1000000, 1, 2, 3, 5, 64};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *want = rows[i].out == SAME ? rows[i].in : rows[i].out;
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
            struct buf out = BUF_MAX(MAX);
            bool ok = convert(slice_str(rows[i].in), pieces[k], &out);
            if (ok != (want != NULL) || (ok && !slice_eq(buf_slice(&out), slice_str(want))))
                fail_msg("%s, by %zu:\n%s", rows[i].about, pieces[k], ok ? buf_str(&out) : "-");
            buf_done(&out);
        }
    }
}

/* A label of lines that is found out within 64 KiB, just so, and one octet later. */
static void test_where_looking_ends(void **state)
{
    (void)state;
    for (size_t before = 65000; before < 66500; before += 33) {
        struct buf in = BUF_MAX(MAX), out = BUF_MAX(MAX), again = BUF_MAX(MAX);
        buf_add_str(&in, "MIME-Version: 1.0\r\nContent-Type: x/y\r\n\r\n");
        size_t head = in.n;
        while (in.n - head < before)
            buf_add_str(&in, "0123456789012345678901234567890\r\n");
        buf_add_str(&in, "\n");
        size_t seen = in.n - head;
        bool ok = convert(buf_slice(&in), MAX, &out);
        assert_int_equal(ok, seen <= 65536 + 1);
        assert_int_equal(convert(buf_slice(&in), 997, &again), ok);
        if (ok)
            assert_true(slice_eq(buf_slice(&out), buf_slice(&again)));
        buf_done(&in);
        buf_done(&out);
        buf_done(&again);
    }
}

/* Whatever is declared, held back or gathered: bounded. */
static void test_endless(void **state)
{
    (void)state;
    static const struct {
        const char *head, *endless;
        bool ok;
    } inputs[] = {
        {"", "Content-Transfer-Encoding: binary\r\n", true}, /* dropped but for the first */
        {BINARY, "X: y\r\n", false},
        {"", "word ", true}, /* no field: a body */
        {"X: ", "word ", true},
        {"X: ", "words", false},
        {"Content-Type: multipart/mixed; boundary=", "b", false},
        {MULTI "\r\n--b\r\n", "--", true},
        {MULTI "\r\n", "--b\r\n", true},
        {MULTI "\r\n--b\r\n", MULTI "\r\n--b\r\n", true},
        {"", "Content-Type: message/rfc822\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct reencode *r = reencode_new();
        struct buf out = BUF_MAX(MAX);
        bool ok = reencode_bytes(r, slice_str(inputs[i].head), &out);
        size_t fed = 0, given = 0;
        for (; ok && fed < (1u << 20); fed += strlen(inputs[i].endless)) {
            ok = reencode_bytes(r, slice_str(inputs[i].endless), &out);
            given += out.n;
            buf_reset(&out);
        }
        ok = ok && reencode_end(r, &out);
        given += out.n;
        if (ok != inputs[i].ok)
            fail_msg("%zu: %s", i, reencode_problem(r));
        assert_true(given < 2 * fed + 1000);
        assert_true(ok || fed < 70000);
        reencode_free(r);
        buf_done(&out);
    }
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum mime_kind kind;
        const char *boundary;
    } types[] = {
        {" multipart/mixed; boundary=abc", MIME_MULTIPART, "abc"},
        {"Multipart / (x) Alternative ;charset=x; BOUNDARY = \"a \\\"b\" ; c=d", MIME_MULTIPART,
         "a \"b"},
        {"multipart/mixed; x=\";boundary=no\"; boundary=\"yes \"", MIME_MULTIPART, "yes"},
        {"multipart/mixed;\r\n\tboundary=a=b/c?", MIME_MULTIPART, "a=b/c?"},
        {"multipart/digest; boundary=x", MIME_DIGEST, "x"},
        {"multipart/mixed", MIME_LEAF, NULL},
        {"multipart/mixed; boundary=", MIME_LEAF, NULL},
        {"multipart/mixed; boundary=\"\"", MIME_LEAF, NULL},
        {"multipart/mixed; boundary=\"a\tb\"", MIME_LEAF, NULL},
        {"multipart/mixed; boundary", MIME_LEAF, NULL},
        {"multipart/mixed; boundary=\"open", MIME_MULTIPART, "open"},
        {"message/rfc822", MIME_MESSAGE, NULL},
        {"message/global", MIME_MESSAGE, NULL},
        {"MESSAGE/News (x", MIME_MESSAGE, NULL},
        {"message/delivery-status", MIME_OTHER_MESSAGE, NULL},
        {"message", MIME_LEAF, NULL},
        {"", MIME_LEAF, NULL},
        {"text/plain; boundary=x", MIME_LEAF, NULL},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct mime_boundary b = {.n = 0};
        enum mime_kind kind = mime_read_type(slice_str(types[i].value), &b);
        if (kind != types[i].kind ||
            (types[i].boundary && !slice_eq(slice_of(b.bytes, b.n), slice_str(types[i].boundary))))
            fail_msg("%s: %d '%.*s'", types[i].value, (int)kind, (int)b.n, (char *)b.bytes);
    }
}

/* Not a test of speed on a busy machine, but one against a step backwards by orders. */
static void test_large(void **state)
{
    (void)state;
    struct buf in = BUF_MAX(MAX), out = BUF_MAX(MAX);
    buf_add_str(&in, MULTI "\r\n--b\r\n" BINARY "\r\n");
    size_t head = in.n;
    for (uint32_t x = 1; in.n < ((size_t)16 << 20); x = x * 1664525 + 1013904223)
        buf_add(&in, slice_of(&x, sizeof x));
    size_t data = in.n - head;
    buf_add_str(&in, "\r\n--b--\r\n");
    struct mono began = mono_now();
    assert_true(convert(buf_slice(&in), 65536, &out));
    print_message("16 MiB of binary in %lld ms\n", (long long)(mono_now().ms - began.ms));
    assert_true(mono_now().ms - began.ms < 20000);
    assert_true(out.n > data / 57 * 78);
    buf_done(&in);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_where_looking_ends),
        cmocka_unit_test(test_endless), cmocka_unit_test(test_types),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
