/*
 * What a program writes to sendmail. Laws: any split of it gives the same text; a message that is
 * composed has CR LF lines of at most 998 octets and no other CR or LF, a From or a Resent-From,
 * and recipients and a sender that are addresses; composed again it stays as it is; what is refused
 * is refused with a sentence. The first octet says which options.
 */
#include "relay/cli/sendmail.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/address.h"
#include "relay/mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sendmail_who who = {.login = "ann",
                                        .fullname = "Ann \"X\" Example",
                                        .hostname = "h.test",
                                        .postmaster = "admin@corp.test"};

static void check_lines(struct slice text)
{
    while (text.n) {
        const size_t n = slice_find(text, '\n');
        MUST(n < text.n && n >= 1 && text.p[n - 1] == '\r' && n <= 999);
        MUST(slice_find(slice_head(text, n), '\r') == n - 1);
        text = slice_skip(text, n + 1);
    }
}

static void check_from(struct slice text)
{
    struct header_field f;
    bool seen = false;
    while (header_next(&text, &f))
        seen |= slice_ieq(f.name, SLICE_LIT("From")) || slice_ieq(f.name, SLICE_LIT("Resent-From"));
    MUST(seen && slice_starts(text, SLICE_LIT("\r\n")));
}

static void check_mail(const struct sendmail_mail *m)
{
    struct address a;
    check_lines(buf_slice(&m->content));
    check_from(buf_slice(&m->content));
    MUST(m->n_rcpts > 0);
    for (size_t i = 0; i < m->n_rcpts; i++)
        MUST(address_parse_form(m->rcpts[i], m->utf8 ? ADDRESS_UTF8 : ADDRESS_ASCII, &a));
    MUST(address_parse(buf_slice(&m->sender), &a));
}

static void compose(const struct sendmail_args *a, struct slice text)
{
    char problem[160] = "";
    DEFER(sendmail_mail_done) struct sendmail_mail m = {0}, again = {0};
    if (sendmail_compose(&m, a, &who, text, problem) != EX_OK) {
        MUST(problem[0]);
        return;
    }
    check_mail(&m);
    if (sendmail_compose(&again, a, &who, buf_slice(&m.content), problem) != EX_OK)
        UNREACHABLE();
    MUST(slice_eq(buf_slice(&again.content), buf_slice(&m.content)));
    MUST(again.n_rcpts == m.n_rcpts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char rcpt[] = "b@x.test", *rcpts[] = {rcpt};
    if (size == 0)
        return 0;
    const unsigned bits = data[0];
    const struct slice text = slice_of(data + 1, size - 1);
    const struct sendmail_args a = {.from_header = bits & 1,
                                    .dot_is_text = bits & 2,
                                    .header_as_is = bits & 4,
                                    .fullname = bits & 8 ? "J\xc3\xb6rg" : NULL,
                                    .rcpts = rcpts,
                                    .n_rcpts = !(bits & 1) || (bits & 16)};
    struct sendmail_reader one = {.text = BUF_MAX(2 * size + 16), .dot_is_text = a.dot_is_text},
                           two = {.text = BUF_MAX(2 * size + 16), .dot_is_text = a.dot_is_text};
    sendmail_read(&one, text);
    sendmail_read_end(&one);
    for (size_t i = 0; i < text.n; i++)
        sendmail_read(&two, slice_of(text.p + i, 1));
    sendmail_read_end(&two);
    MUST(slice_eq(buf_slice(&one.text), buf_slice(&two.text)) && !one.text.overflow);
    compose(&a, buf_slice(&one.text));
    buf_done(&one.text);
    buf_done(&two.text);
    return 0;
}
