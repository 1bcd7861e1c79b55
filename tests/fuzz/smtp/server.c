/*
 * Whole sessions. Laws: any split gives the same actions and output; every line of output is a
 * reply; nothing that reaches the driver holds a bare CR or LF; a committed message is within the
 * limit, its last line ended; after CLOSE comes nothing; memory stays bounded. Input: one byte of
 * settings, one that chooses the split, then the client's bytes; byte 0xfe stands for a stop, 0xfd
 * for a silence.
 */
#include "tests/talks/drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TLS = 1, AUTH = 2, AUTH_REQUIRED = 4, FEW = 8, SLOW = 16, REFUSE_BODY = 32, EVENTS = 64 };

static struct smtp_reply checked(struct drive *d, const struct smtp_server_action *a)
{
    const uint8_t *settings = d->ctx;
    if (a->act == SRV_BODY) {
        MUST(a->body.n > 0);
        return *settings & REFUSE_BODY && drive_has(buf_slice(&d->body), "zz")
                   ? SMTP_REPLY(451, 4, 3, 0, "disk")
                   : (struct smtp_reply){0};
    }
    if (a->act == SRV_COMMIT) {
        struct slice b = buf_slice(&d->body);
        MUST(b.n == 0 || slice_iends(b, SLICE_LIT("\r\n")));
        for (size_t i = 0; i < b.n; i++) {
            MUST(b.p[i] != '\n' || (i > 0 && b.p[i - 1] == '\r'));
            MUST(b.p[i] != '\r' || (i + 1 < b.n && b.p[i + 1] == '\n'));
        }
        MUST(b.n <= 500 + 2);
    }
    return drive_answer(d, a);
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static void check_output(struct slice out)
{
    while (out.n) {
        struct slice line = slice_cut(&out, '\n');
        MUST(line.n >= 5 && line.p[line.n - 1] == '\r');
        MUST(is_digit(line.p[0]) && is_digit(line.p[1]) && is_digit(line.p[2]) &&
             (line.p[3] == ' ' || line.p[3] == '-'));
        for (size_t i = 0; i + 1 < line.n; i++)
            MUST(line.p[i] >= 0x20 && line.p[i] < 0x7f);
    }
}

static void play(struct drive *d, const struct smtp_server_conf *conf, uint8_t *settings,
                 struct slice in, uint64_t split)
{
    drive_init(d, conf, false);
    d->answer = checked;
    d->ctx = settings;
    while (in.n) {
        size_t n = 0;
        while (n < in.n && (!(*settings & EVENTS) || (in.p[n] != 0xfe && in.p[n] != 0xfd)))
            n++;
        drive_split(d, slice_head(in, n), split);
        if (n < in.n && in.p[n] == 0xfe)
            smtp_server_shutdown(d->s, d->now);
        if (n < in.n && in.p[n] == 0xfd) {
            d->now = mono_add(d->now, 61000);
            smtp_server_tick(d->s, d->now);
        }
        drive_pump(d, NULL);
        in = slice_skip(in, n + 1);
    }
    smtp_server_eof(d->s);
    drive_pump(d, NULL);
    MUST(d->closed);
    MUST(slice_iends(buf_slice(&d->actions), SLICE_LIT("close\n")));
    check_output(buf_slice(&d->out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t settings = data[0];
    struct smtp_server_conf conf = drive_conf();
    conf.starttls = settings & TLS;
    conf.auth_needs_tls = (settings & TLS) != 0;
    conf.auth_mechanisms = settings & AUTH ? SLICE_LIT("PLAIN LOGIN") : SLICE_NONE;
    conf.auth_required = settings & AUTH_REQUIRED;
    conf.max_message_size = 500;
    conf.max_errors = settings & FEW ? 2 : 0;
    conf.max_recipients = settings & FEW ? 1 : 100;
    conf.max_messages = settings & FEW ? 1 : 0;
    conf.min_data_rate = settings & SLOW ? 1 : 0;
    struct slice in = slice_of(data + 2, size - 2);
    struct drive whole, parts;
    play(&whole, &conf, &settings, in, 0);
    play(&parts, &conf, &settings, in, 1 + data[1] % 8);
    /* Injection before TLS is refused or dropped, as the split has it; where the driver refuses
     * content depends on its pieces. */
    if (!whole.tls_seen && !parts.tls_seen && !(settings & REFUSE_BODY)) {
        MUST(slice_eq(buf_slice(&whole.out), buf_slice(&parts.out)));
        MUST(slice_eq(buf_slice(&whole.actions), buf_slice(&parts.actions)));
    }
    drive_done(&whole);
    drive_done(&parts);
    return 0;
}
