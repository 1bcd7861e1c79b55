/* What a stored message's header section is, for each thing that a client may have forgotten, must
 * not say, or says wrongly. */
#include "relay/mail/fixup.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DATE "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
#define ID "Message-ID: <01HF7YAT00@relay.test>\r\n"
#define FROM "From: <app@a.test>\r\n"
/* A section that lacks nothing. */
#define WHOLE "Date: d\r\nMessage-ID: <m>\r\nFrom: f@a.test\r\nTo: t@a.test\r\n"

static const struct fixup_rules usual = {.date = FIXUP_ADD,
                                         .message_id = FIXUP_ADD,
                                         .from = FIXUP_ADD,
                                         .to = FIXUP_KEEP,
                                         .max_octets = HEADER_SCAN_MAX,
                                         .max_fields = 1000,
                                         .max_hops = 50};

static struct fixup_words words(void)
{
    return (struct fixup_words){.queue_id = SLICE_LIT("01HF7YAT00"),
                                .hostname = SLICE_LIT("relay.test"),
                                .sender = SLICE_LIT("app@a.test"),
                                .now = {INT64_C(1700000000) * WALL_SECOND}};
}

/* Scans, looks and judges as the front door does. */
static enum fixup_fault judge(struct fixup *f, struct slice message, const struct fixup_rules *r,
                              struct slice *ret_section, struct slice *ret_detail)
{
    struct header_scan h;
    header_scan_init(&h, r->max_octets);
    header_scan_bytes(&h, message);
    header_scan_end(&h);
    *ret_section = slice_skip(slice_head(message, h.facts.header_n), h.facts.from_line_n);
    *f = (struct fixup){0};
    fixup_look(f, *ret_section);
    const enum fixup_fault fault = fixup_judge(f, &h.facts, r, ret_detail);
    header_scan_done(&h);
    return fault;
}

static void mend(struct slice message, const struct fixup_rules *r, struct buf *out)
{
    struct fixup f;
    struct slice section, detail;
    const struct fixup_words w = words();
    assert_int_equal(judge(&f, message, r, &section, &detail), FIXUP_FINE);
    fixup_write(out, &f, r, &w, section);
    fixup_done(&f);
}

static void assert_mended(const char *what, struct slice message, const struct fixup_rules *r,
                          const char *want)
{
    struct buf once = BUF_MAX(1 << 20), twice = BUF_MAX(1 << 20);
    mend(message, r, &once);
    if (!slice_eq(buf_slice(&once), slice_str(want)))
        fail_msg("%s: got\n%swanted\n%s", what, buf_str(&once), want);
    mend(buf_slice(&once), r, &twice);
    if (!slice_eq(buf_slice(&once), buf_slice(&twice)))
        fail_msg("%s: mended twice it is\n%s", what, buf_str(&twice));
    buf_done(&once);
    buf_done(&twice);
}

static const struct {
    const char *what, *message, *section;
} rows[] = {
    {"nothing to do", WHOLE "Subject: x\r\n\r\nbody", WHOLE "Subject: x\r\n\r\n"},
    {"26: no Date", "Message-ID: <m>\r\nFrom: f\r\n\r\n",
     DATE "Message-ID: <m>\r\nFrom: f\r\n\r\n"},
    {"26: no Message-ID", "Date: d\r\nFrom: f\r\n\r\n", ID "Date: d\r\nFrom: f\r\n\r\n"},
    {"26: no From", "Date: d\r\nMessage-ID: <m>\r\n\r\n",
     FROM "Date: d\r\nMessage-ID: <m>\r\n\r\n"},
    {"26: no field at all", "\r\nbody", DATE ID FROM "\r\n"},
    {"26: an empty one is there", "Date:\r\nFrom:\r\nMessage-ID:\r\n\r\n",
     "Date:\r\nFrom:\r\nMessage-ID:\r\n\r\n"},
    {"28: order and folds stay", "B: 1\r\n 2\r\nA:3\r\nB: 4\r\n" WHOLE "A : \r\n \t\r\n\r\n",
     "B: 1\r\n 2\r\nA:3\r\nB: 4\r\n" WHOLE "A : \r\n \t\r\n\r\n"},
    {"27: Bcc goes", WHOLE "Bcc: x@a.test,\r\n y@a.test\r\nbcc: z\r\nX-Bcc: stays\r\n\r\n",
     WHOLE "X-Bcc: stays\r\n\r\n"},
    {"27: Resent-Bcc goes", WHOLE "Resent-Bcc: x@a.test\r\n\r\n", WHOLE "\r\n"},
    {"27: Return-Path goes", "Return-Path: <x@a.test>\r\n" WHOLE "\r\n", WHOLE "\r\n"},
    {"27: Bcc alone, no To is made up",
     "Date: d\r\nMessage-ID: <m>\r\nFrom: f\r\nBcc: x@a.test\r\n\r\n",
     "Date: d\r\nMessage-ID: <m>\r\nFrom: f\r\n\r\n"},
    {"27, 104: a blank before the colon hides nothing", WHOLE "Bcc \t: x@a.test\r\n\r\n",
     WHOLE "\r\n"},
    {"27: in any case", WHOLE "BCC: x\r\nrEtUrN-pAtH: y\r\n\r\n", WHOLE "\r\n"},
    {"27: a folded empty line in what goes", WHOLE "Bcc: x\r\n \r\n y\r\nZ: 1\r\n\r\n",
     WHOLE "Z: 1\r\n\r\n"},
    {"tags go", "X-Postwain-Tag: a=b\r\n" WHOLE "x-postwain-tag: c=d\r\n\r\n", WHOLE "\r\n"},
    {"104: an mbox line goes", "From x@a.test Sat Jan  3 01:05:34 1996\r\n" WHOLE "\r\n",
     WHOLE "\r\n"},
    {"104: no empty line before the body", WHOLE "hello\r\n", WHOLE "\r\n"},
    {"104: a header only mail", WHOLE, WHOLE "\r\n"},
    {"104: a last line without an end", WHOLE "X: y", WHOLE "X: y\r\n\r\n"},
    {"104: no header at all", "hello\r\n\r\nthere", DATE ID FROM "\r\n"},
    {"104: 8-bit in a value stays", WHOLE "Subject: \xf6\r\n\r\n", WHOLE "Subject: \xf6\r\n\r\n"},
    {"a NUL stays", WHOLE "Subject: a\r\n\r\n", WHOLE "Subject: a\r\n\r\n"},
    {"TLS-Required stays", WHOLE "TLS-Required: No\r\n\r\n", WHOLE "TLS-Required: No\r\n\r\n"},
    {"group syntax stays",
     "From: us: a@a.test;\r\nTo: undisclosed-recipients:;\r\nDate: d\r\nMessage-ID: <m>\r\n\r\n",
     "From: us: a@a.test;\r\nTo: undisclosed-recipients:;\r\nDate: d\r\nMessage-ID: <m>\r\n\r\n"},
    {"Content-Length, Sender, Resent-To stay as they are",
     WHOLE "Content-Length: 5\r\nSender: s\r\nLines: 3\r\n\r\n",
     WHOLE "Content-Length: 5\r\nSender: s\r\nLines: 3\r\n\r\n"},
    {"sent again: what the block lacks, in front of it",
     WHOLE "X: 1\r\nResent-From: r@a.test\r\nResent-To: q@a.test\r\n\r\n",
     WHOLE "X: 1\r\nResent-" DATE "Resent-" ID
           "Resent-From: r@a.test\r\nResent-To: q@a.test\r\n\r\n"},
    {"sent again: only its recipients are known", "Resent-To: q@a.test\r\n" WHOLE "\r\n",
     "Resent-" DATE "Resent-" ID "Resent-" FROM "Resent-To: q@a.test\r\n" WHOLE "\r\n"},
    {"sent again: the block is whole",
     "Resent-Date: d\r\nResent-Message-ID: <x>\r\nResent-From: r@a.test\r\n" WHOLE "\r\n",
     "Resent-Date: d\r\nResent-Message-ID: <x>\r\nResent-From: r@a.test\r\n" WHOLE "\r\n"},
    {"sent again, and never dated", "Resent-From: r@a.test\r\nFrom: f\r\n\r\n",
     DATE ID "Resent-" DATE "Resent-" ID "Resent-From: r@a.test\r\nFrom: f\r\n\r\n"},
};

static void sections_are_mended_as_tabled(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_mended(rows[i].what, slice_str(rows[i].message), &usual, rows[i].section);
}

static void nul_is_carried(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(1000);
    mend(SLICE_LIT(WHOLE "Subject: a\0b\r\n\r\n"), &usual, &out);
    assert_true(slice_eq(buf_slice(&out), SLICE_LIT(WHOLE "Subject: a\0b\r\n\r\n")));
    buf_done(&out);
}

static void what_is_added_is_configured(void **state)
{
    (void)state;
    struct fixup_rules r = usual;
    r.date = r.message_id = r.from = FIXUP_KEEP;
    assert_mended("keep", SLICE_LIT("Subject: x\r\nResent-To: y\r\n\r\n"), &r,
                  "Subject: x\r\nResent-To: y\r\n\r\n");
    r.to = FIXUP_ADD;
    assert_mended("To", SLICE_LIT("Bcc: x\r\n\r\n"), &r, "To: undisclosed-recipients:;\r\n\r\n");
    assert_mended("Cc will do", SLICE_LIT("Cc: x\r\n\r\n"), &r, "Cc: x\r\n\r\n");
}

/* A report, or whatever else has no sender: Postfix says the same. */
static void from_nobody(void **state)
{
    (void)state;
    struct fixup f = {0};
    struct buf out = BUF_MAX(4096);
    struct fixup_words w = words();
    w.sender = SLICE_NONE;
    fixup_look(&f, SLICE_LIT("Date: d\r\nMessage-ID: <m>\r\n\r\n"));
    fixup_write(&out, &f, &usual, &w, SLICE_LIT("Date: d\r\nMessage-ID: <m>\r\n\r\n"));
    assert_string_equal(buf_str(&out), "From: <MAILER-DAEMON@relay.test>\r\nDate: d\r\n"
                                       "Message-ID: <m>\r\n\r\n");
    buf_done(&out);
    fixup_done(&f);
}

static void assert_fault(const char *what, struct slice message, const struct fixup_rules *r,
                         enum fixup_fault want, const char *detail)
{
    struct fixup f;
    struct slice section, got_detail;
    const enum fixup_fault got = judge(&f, message, r, &section, &got_detail);
    if (got != want || !slice_eq(got_detail, slice_str(detail)))
        fail_msg("%s: fault %d \"%.*s\"", what, got, SLICE_ARG(got_detail));
    fixup_done(&f);
}

#define FAULT(what, message, fault) assert_fault(what, SLICE_LIT(message), &usual, fault, "")

static void what_is_missing_may_be_refused(void **state)
{
    (void)state;
    static const struct {
        const char *message;
        enum fixup_fault fault;
    } refused[] = {
        {"Message-ID: <m>\r\nFrom: f\r\nTo: t\r\n\r\n", FIXUP_NOT_NO_DATE},
        {"Date: d\r\nFrom: f\r\nTo: t\r\n\r\n", FIXUP_NOT_NO_MESSAGE_ID},
        {"Date: d\r\nMessage-ID: <m>\r\nTo: t\r\n\r\n", FIXUP_NOT_NO_FROM},
        {"Date: d\r\nMessage-ID: <m>\r\nFrom: f\r\nBcc: t\r\n\r\n", FIXUP_NOT_NO_TO},
        {WHOLE "\r\n", FIXUP_FINE},
        {"Date: d\r\nMessage-ID: <m>\r\nFrom: f\r\ncc: t\r\n\r\n", FIXUP_FINE},
        {"hello\r\n", FIXUP_NOT_NO_DATE},
    };
    struct fixup_rules r = usual;
    r.date = r.message_id = r.from = r.to = FIXUP_REFUSE;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_fault(refused[i].message, slice_str(refused[i].message), &r, refused[i].fault, "");
}

/* 5, 2: only BINARYMIME can bring them here; within the header section they stay refused. */
static void lines_that_are_none(void **state)
{
    (void)state;
    FAULT("bare LF", WHOLE "Subject: a\nBcc: b\r\n\r\n", FIXUP_NOT_LINES);
    FAULT("bare CR", WHOLE "Subject: a\rBcc: b\r\n\r\n", FIXUP_NOT_LINES);
    FAULT("CR CR LF", WHOLE "Subject: a\r\r\n\r\n", FIXUP_NOT_LINES);
    FAULT("bare LF in a fold", WHOLE "Subject: a\r\n b\n\r\n\r\n", FIXUP_NOT_LINES);
    FAULT("bare LF in the body", WHOLE "\r\na\nb", FIXUP_FINE);
    /* 7 */
    for (size_t over = 0; over < 2; over++) {
        struct buf b = BUF_MAX(5000);
        buf_add_str(&b, WHOLE "S: ");
        for (size_t i = 0; i < 995 + over; i++)
            buf_add_u8(&b, 'x');
        buf_add_str(&b, "\r\n\r\n");
        assert_fault("a long line", buf_slice(&b), &usual, over ? FIXUP_NOT_LINES : FIXUP_FINE, "");
        buf_done(&b);
    }
}

static void numbers_have_limits(void **state)
{
    (void)state;
    struct fixup_rules r = usual;
    r.max_fields = 4;
    assert_fault("four fields", SLICE_LIT(WHOLE "\r\n"), &r, FIXUP_FINE, "");
    assert_fault("five", SLICE_LIT(WHOLE "Bcc: x\r\n\r\n"), &r, FIXUP_NOT_FIELDS, "");
    r = usual;
    r.max_octets = sizeof WHOLE + 1;
    assert_fault("as many octets", SLICE_LIT(WHOLE "\r\nbody"), &r, FIXUP_FINE, "");
    r.max_octets--;
    assert_fault("one more", SLICE_LIT(WHOLE "\r\nbody"), &r, FIXUP_NOT_SIZE, "");
    /* 29 */
    r = usual;
    r.max_hops = 2;
    assert_fault("two hops", SLICE_LIT("Received: a\r\nReceived: b\r\n" WHOLE "\r\n"), &r,
                 FIXUP_FINE, "");
    assert_fault("three", SLICE_LIT("Received: a\r\nReceived: b\r\nreceived : c\r\n" WHOLE "\r\n"),
                 &r, FIXUP_NOT_HOPS, "");
}

/* 30: receivers that show one From and judge by another are an old trick. */
static void two_from_fields_are_refused(void **state)
{
    (void)state;
    FAULT("two", WHOLE "From: g@a.test\r\n\r\n", FIXUP_NOT_TWO_FROM);
    FAULT("two, one with a blank", WHOLE "From : g@a.test\r\n\r\n", FIXUP_NOT_TWO_FROM);
    FAULT("the same", WHOLE "From: f@a.test\r\n\r\n", FIXUP_NOT_TWO_FROM);
    FAULT("an mbox line is none", "From x\r\n" WHOLE "\r\n", FIXUP_FINE);
}

static void assert_tags(const char *message, const char *want)
{
    struct fixup f;
    struct slice section, detail;
    assert_int_equal(judge(&f, slice_str(message), &usual, &section, &detail), FIXUP_FINE);
    if (!slice_eq(buf_slice(&f.tags), slice_str(want)))
        fail_msg("tags \"%s\"", buf_str(&f.tags));
    fixup_done(&f);
}

#define K32 "0123456789abcdefghijklmnopqrs._-"
#define V128 K32 K32 K32 "0123456789abcdefghijklmnopqrstu!"

static void tags_are_taken(void **state)
{
    (void)state;
    assert_tags(WHOLE "\r\n", "");
    assert_tags(WHOLE "X-Postwain-Tag: campaign=spring\r\nx-postwain-tag:A.b-c_1 =  x = y \r\n\r\n",
                "campaign=spring\nA.b-c_1=x = y");
    assert_tags(WHOLE "X-Postwain-Tag:\r\n a=J\xc3\xb6rg \"q\" \\\r\n\r\n",
                "a=J\xc3\xb6rg \"q\" \\");
    assert_tags(WHOLE "X-Postwain-Tag: " K32 "=" V128 "\r\n\r\n", K32 "=" V128);
    assert_tags(WHOLE "X-Postwain-Tag: a=1\r\nX-Postwain-Tag: A=1\r\n\r\n", "a=1\nA=1");
}

static void tags_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum fixup_fault fault;
    } bad[] = {
        {"", FIXUP_NOT_TAG},
        {"a", FIXUP_NOT_TAG},
        {"a=", FIXUP_NOT_TAG},
        {"a= ", FIXUP_NOT_TAG},
        {"=b", FIXUP_NOT_TAG},
        {"a b=c", FIXUP_NOT_TAG},
        {"a\"=c", FIXUP_NOT_TAG},
        {"\xc3\xb6=c", FIXUP_NOT_TAG},
        {"a=b\r\n c=d", FIXUP_NOT_TAG},
        {"a=b\tc", FIXUP_NOT_TAG},
        {"a=\x1b[31m", FIXUP_NOT_TAG},
        {"a=\xff", FIXUP_NOT_TAG},
        {"a=\xe2\x80\xae", FIXUP_NOT_TAG},
        {K32 "x=1", FIXUP_NOT_TAG},
        {"a=" V128 "x", FIXUP_NOT_TAG},
        {"one=2", FIXUP_NOT_TAG_TWICE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char message[1000];
        snprintf(message, sizeof message,
                 WHOLE "X-Postwain-Tag: one=1\r\nX-Postwain-Tag: %s\r\nX-Postwain-Tag: c=1\r\n\r\n",
                 bad[i].value);
        char trimmed[400];
        struct slice detail = slice_head(slice_trim(slice_str(bad[i].value)), 161);
        snprintf(trimmed, sizeof trimmed, "%.*s", SLICE_ARG(detail));
        assert_fault(bad[i].value, slice_str(message), &usual, bad[i].fault, trimmed);
    }
}

static void sixteen_tags(void **state)
{
    (void)state;
    for (unsigned n = 16; n <= 17; n++) {
        struct buf b = BUF_MAX(4000);
        struct fixup f;
        struct slice section, detail;
        for (unsigned i = 0; i < n; i++)
            buf_addf(&b, "X-Postwain-Tag: k%u=v\r\n", i);
        buf_add_str(&b, WHOLE "\r\n");
        assert_int_equal(judge(&f, buf_slice(&b), &usual, &section, &detail),
                         n > 16 ? FIXUP_NOT_TAGS : FIXUP_FINE);
        assert_int_equal(f.n_tags, 16);
        assert_false(f.tags.overflow);
        fixup_done(&f);
        buf_done(&b);
    }
}

/* RFC 8689 section 5; other values are reserved. */
static void tls_is_not_required(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        bool optional;
    } said[] = {
        {"TLS-Required: No\r\n", true},      {"tls-required:no\r\n", true},
        {"TLS-Required :\r\n No\r\n", true}, {"TLS-Required: yes\r\n", false},
        {"TLS-Required:\r\n", false},        {"X-TLS-Required: No\r\n", false},
        {"TLS-Required: No, or\r\n", false}, {"", false},
    };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct fixup f = {0};
        fixup_look(&f, slice_str(said[i].field));
        assert_int_equal(f.tls_optional, said[i].optional);
        fixup_done(&f);
    }
}

static void authors_are_walked(void **state)
{
    (void)state;
    static const char *const want[] = {"sender", "FROM", "Resent-From", "Resent-Sender"};
    struct slice rest = SLICE_LIT("To: t\r\nsender: a\r\nReply-To: r\r\nFROM : b\r\n"
                                  "Resent-From: c\r\nX: d\r\nResent-Sender: e\r\n\r\nFrom: f\r\n");
    struct header_field f;
    for (size_t i = 0; i < 4; i++) {
        assert_true(fixup_next_author(&rest, &f));
        assert_true(slice_eq(f.name, slice_str(want[i])));
    }
    assert_false(fixup_next_author(&rest, &f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sections_are_mended_as_tabled),
        cmocka_unit_test(nul_is_carried),
        cmocka_unit_test(what_is_added_is_configured),
        cmocka_unit_test(from_nobody),
        cmocka_unit_test(what_is_missing_may_be_refused),
        cmocka_unit_test(lines_that_are_none),
        cmocka_unit_test(numbers_have_limits),
        cmocka_unit_test(two_from_fields_are_refused),
        cmocka_unit_test(tags_are_taken),
        cmocka_unit_test(tags_that_are_none_are_refused),
        cmocka_unit_test(sixteen_tags),
        cmocka_unit_test(tls_is_not_required),
        cmocka_unit_test(authors_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
