/*
 * xtext and ORCPT, both ways (checklist 23). Laws: what decodes holds no control and is valid
 * UTF-8; decode(encode (x)) == x for all that may be stored; what is encoded can stand in a
 * command; a refusal leaves the output as it was. Input: one byte (SMTPUTF8 or not), then the text.
 */
#include "relay/smtp/xtext.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/smtp/orcpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 1 << 20 };

static void check_clean(struct slice s, bool ascii)
{
    for (uint32_t code; s.n; s = slice_skip(s, utf8_char(s, &code))) {
        MUST(utf8_char(s, &code) > 0 && !utf8_is_control(code));
        MUST(!ascii || code < 127);
    }
}

static void check_word(struct slice s, bool ascii)
{
    MUST(utf8_valid(s));
    for (size_t i = 0; i < s.n; i++)
        MUST(s.p[i] > ' ' && s.p[i] != '=' && s.p[i] != 127 && (!ascii || s.p[i] < 127));
}

static void try_xtext(struct slice text)
{
    struct buf plain = BUF_MAX(MAX), again = BUF_MAX(MAX), back = BUF_MAX(MAX);
    if (xtext_decode(&plain, text)) {
        check_clean(buf_slice(&plain), true);
        MUST(xtext_encode(&again, buf_slice(&plain)));
        MUST(xtext_decode(&back, buf_slice(&again)));
        MUST(slice_eq(buf_slice(&back), buf_slice(&plain)));
    }
    MUST(plain.n <= text.n);
    buf_reset(&again);
    MUST(xtext_encode(&again, text));
    check_word(buf_slice(&again), true);
    buf_done(&plain);
    buf_done(&again);
    buf_done(&back);
}

static void try_orcpt(struct slice text, bool smtputf8)
{
    struct buf stored = BUF_MAX(MAX), said = BUF_MAX(MAX), back = BUF_MAX(MAX);
    if (orcpt_decode(&stored, text, smtputf8)) {
        MUST(text.n <= ORCPT_MAX && stored.n <= text.n);
        check_clean(buf_slice(&stored), false);
        /* What came with SMTPUTF8 may have to be said without. */
        for (int utf8 = 0; utf8 <= 1; utf8++) {
            buf_reset(&said);
            buf_reset(&back);
            MUST(orcpt_encode(&said, buf_slice(&stored), utf8));
            check_word(buf_slice(&said), !utf8);
            if (said.n > ORCPT_MAX)
                continue;
            MUST(orcpt_decode(&back, buf_slice(&said), utf8));
            MUST(slice_eq(buf_slice(&back), buf_slice(&stored)));
        }
    } else {
        MUST(stored.n == 0);
    }
    buf_reset(&said);
    if (orcpt_encode(&said, text, smtputf8))
        check_word(buf_slice(&said), !smtputf8);
    else
        MUST(said.n == 0);
    buf_done(&stored);
    buf_done(&said);
    buf_done(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice text = slice_of(data + 1, size - 1);
    try_xtext(text);
    try_orcpt(text, data[0] & 1);
    return 0;
}
