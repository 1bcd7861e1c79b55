/* Law: whatever a template says, and whatever the peer has said, a report that is written has its
 * three parts, and up to the original it is ASCII lines of at most 998 octets (93, 95; promise 37).
 * A template that is refused says why, with a line that is there. In: the peer's words, NUL, the
 * template. */
#include "relay/base/must.h"
#include "relay/mail/dsn.h"
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
    unsigned n, lines;
};

static void say(void *ctx, unsigned line, const char *problem)
{
    struct told *t = ctx;
    MUST(problem[0] && line <= t->lines + 1);
    t->n++;
}

static size_t count(struct slice s, const char *what)
{
    size_t n = 0;
    const struct slice needle = slice_str(what);
    for (size_t at; (at = slice_find_slice(s, needle)) < s.n; n++)
        s = slice_skip(s, at + needle.n);
    return n;
}

static void check_lines(struct slice s)
{
    size_t column = 0;
    for (size_t i = 0; i < s.n; i++) {
        const uint8_t c = s.p[i];
        MUST((c >= 32 && c < 127) || c == '\t' || c == '\r' || c == '\n');
        MUST((c == '\n') == (i > 0 && s.p[i - 1] == '\r'));
        column = c == '\n' ? 0 : column + 1;
        MUST(column <= 999);
    }
}

static void check_report(const struct dsn_input *in)
{
    struct buf out = BUF_MAX(4u << 20);
    if (dsn_write(&out, in)) {
        const struct slice all = buf_slice(&out);
        MUST(count(all, "\r\n--B=") >= 4);
        MUST(count(all, "\r\nContent-Type: message/delivery-status\r\n") >=
             1); /* perhaps as text, too */
        MUST(count(slice_head(all, slice_find_slice(all, SLICE_LIT("\r\n\r\n"))), "\r\nSubject:") ==
             1);
        check_lines(all);
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size), said = slice_cut(&text, 0);
    struct told told = {.lines = (unsigned)count(text, "\n") + 1};
    struct dsn_template *words = dsn_template_parse(text, say, &told);
    MUST((words == NULL) == (told.n > 0));
    struct verdict v = {.kind = VERDICT_FAILED, .code = 550, .enhanced = {5, 1, 1}};
    v.class = (enum verdict_class)(size % (CLASS_OTHER + 1));
    verdict_set_text(&v, said);
    struct dsn_recipient rcpts[2] = {
        {.address = SLICE_LIT("bob@example.net"), .verdict = &v, .remote_mta = SLICE_LIT("mx")},
        {.address = slice_head(said, 300), .action = DSN_DELAYED, .will_retry_until = {1}}};
    struct dsn_input in = {.reporting_mta = SLICE_LIT("relay.example.com"),
                           .to = SLICE_LIT("app@example.com"),
                           .queue_id = SLICE_LIT("Q"),
                           .report_id = SLICE_LIT("R"),
                           .boundary = SLICE_LIT("B"),
                           .rcpts = rcpts,
                           .original = SLICE_LIT("A: b\r\n\r\nbody\r\n"),
                           .words = words};
    for (unsigned i = 0; words && i < 3; i++) {
        in.n_rcpts = 1 + i % 2;
        in.double_bounce = i == 2;
        rcpts[0].action = i == 1 ? DSN_RELAYED : DSN_FAILED;
        check_report(&in);
    }
    verdict_done(&v);
    dsn_template_free(words);
    return 0;
}
