/*
 * Whole sessions (checklist 4). Laws: any split gives the same actions and output; every line of
 * output is a reply; nothing that reaches the driver holds a bare CR or LF, unless MAIL said
 * BINARYMIME; a committed message is within the limit, its last line ended; a question is asked
 * only where it may be (no AUTH in clear where it needs TLS, none in a transaction; RCPT and
 * content only within one); after CLOSE comes nothing; memory stays bounded.
 *
 * Input: two bytes of settings, one that chooses the split, one whose bits are the answers to AUTH,
 * then the client's bytes; with EVENTS byte 0xfe stands for a stop, 0xfd for a silence.
 */
#include "tests/talks/drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    TLS = 1,
    AUTH = 2,
    AUTH_REQUIRED = 4,
    FEW = 8,
    SLOW = 16,
    REFUSE_BODY = 32,
    EVENTS = 64,
    IMPLICIT = 128
};
enum { DELAY = 1, PLAIN_SMTP = 2, TLS_FAILS = 4, LOGIN_TIME = 8 };
enum { SETTINGS = 4, SIZE_MAX_TESTED = 500 };

/* What is known of a session from outside, to hold the machine against. */
struct watch {
    uint8_t settings[SETTINGS];
    unsigned auths; /* answered */
    bool transaction, rcpt, binary, closed;
};

/* Bit after bit: another step, or an end: yes, no, trouble, no more. */
static struct smtp_reply answer_auth(struct watch *w)
{
    static const struct smtp_reply ends[] = {
        SMTP_REPLY_INIT(235, 2, 7, 0, "welcome"), SMTP_REPLY_INIT(535, 5, 7, 8, "no"),
        SMTP_REPLY_INIT(454, 4, 7, 0, "later"), SMTP_REPLY_INIT(421, 4, 7, 0, "enough")};
    const unsigned at = w->auths++ % 8;
    const uint8_t bits = w->settings[3];
    if (bits >> at & 1)
        return SMTP_REPLY(334, 0, 0, 0, "UGFzc3dvcmQ6");
    return ends[(bits >> (at / 2) & 3)];
}

static void check_content(const struct watch *w, struct slice b)
{
    MUST(b.n <= SIZE_MAX_TESTED + 2);
    if (w->binary)
        return;
    MUST(b.n == 0 || slice_iends(b, SLICE_LIT("\r\n")));
    for (size_t i = 0; i < b.n; i++) {
        MUST(b.p[i] != '\n' || (i > 0 && b.p[i - 1] == '\r'));
        MUST(b.p[i] != '\r' || (i + 1 < b.n && b.p[i + 1] == '\n'));
    }
}

static struct smtp_reply checked(struct drive *d, const struct smtp_server_action *a)
{
    struct watch *w = d->ctx;
    const uint8_t settings = w->settings[0];
    if (a->act == SRV_ASK_AUTH) {
        const bool tls = smtp_server_tls(d->s);
        MUST(settings & AUTH && (tls || !(settings & TLS)));
        MUST(!w->transaction && !smtp_server_authenticated(d->s));
        return answer_auth(w);
    }
    if (a->act == SRV_BODY) {
        MUST(a->body.n > 0 && w->rcpt);
        return settings & REFUSE_BODY && drive_has(buf_slice(&d->body), "zz")
                   ? SMTP_REPLY(451, 4, 3, 0, "disk")
                   : (struct smtp_reply){0};
    }
    struct smtp_reply r = drive_answer(d, a);
    if (a->act == SRV_ASK_MAIL) {
        MUST(!(settings & AUTH_REQUIRED) || smtp_server_authenticated(d->s));
        MUST(!a->mail->params.requiretls || smtp_server_tls(d->s));
        *w = (struct watch){
            .transaction = r.code == 250,
            .binary = a->mail->params.body == MAIL_BODY_BINARYMIME,
            .auths = w->auths,
            .settings = {w->settings[0], w->settings[1], w->settings[2], w->settings[3]}};
    } else if (a->act == SRV_ASK_RCPT) {
        MUST(w->transaction && a->rcpt->path.n > 0);
        w->rcpt |= r.code == 250;
    } else {
        MUST(w->rcpt);
        check_content(w, buf_slice(&d->body));
        w->transaction = w->rcpt = false;
    }
    return r;
}

static void seen(struct drive *d, const struct smtp_server_action *a)
{
    struct watch *w = d->ctx;
    MUST(!w->closed);
    if (a->act == SRV_ABORT)
        w->transaction = w->rcpt = false;
    w->closed = a->act == SRV_CLOSE;
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

static void event(struct drive *d, uint8_t c)
{
    if (c == 0xfe)
        smtp_server_shutdown(d->s, d->now);
    if (c == 0xfd) {
        d->now = mono_add(d->now, 61000);
        smtp_server_tick(d->s, d->now);
    }
    drive_pump(d, NULL);
}

static void play(struct drive *d, const struct smtp_server_conf *conf, struct watch *w,
                 struct slice in, uint64_t split)
{
    const bool events = w->settings[0] & EVENTS;
    drive_init(d, conf, w->settings[0] & IMPLICIT);
    d->answer = checked;
    d->seen = seen;
    d->ctx = w;
    d->tls_fails = w->settings[1] & TLS_FAILS;
    while (in.n) {
        size_t n = 0;
        while (n < in.n && (!events || (in.p[n] != 0xfe && in.p[n] != 0xfd)))
            n++;
        drive_split(d, slice_head(in, n), split);
        if (n < in.n)
            event(d, in.p[n]);
        in = slice_skip(in, n + 1);
    }
    smtp_server_eof(d->s);
    drive_pump(d, NULL);
    MUST(d->closed);
    MUST(slice_iends(buf_slice(&d->actions), SLICE_LIT("close\n")));
    MUST(smtp_server_deadline(d->s).ms == MONO_NEVER.ms);
    check_output(buf_slice(&d->out));
}

static struct smtp_server_conf settings_of(const uint8_t *data)
{
    const uint8_t settings = data[0], more = data[1];
    struct smtp_server_conf conf = drive_conf();
    conf.starttls = settings & TLS;
    conf.auth_needs_tls = (settings & TLS) != 0;
    conf.auth_mechanisms = settings & AUTH ? SLICE_LIT("PLAIN LOGIN") : SLICE_NONE;
    conf.auth_required = settings & AUTH_REQUIRED;
    conf.max_message_size = SIZE_MAX_TESTED;
    conf.max_errors = settings & FEW ? 2 : 0;
    conf.max_recipients = settings & FEW ? 1 : 100;
    conf.max_messages = settings & FEW ? 1 : 0;
    conf.max_idle = settings & FEW ? 3 : 0;
    conf.max_unknown = settings & FEW ? 2 : 0;
    conf.max_refused = settings & FEW ? 2 : 0;
    conf.min_data_rate = settings & SLOW ? 1 : 0;
    conf.greeting_delay_ms = more & DELAY ? 1000 : 0;
    conf.extensions = more & PLAIN_SMTP ? 0 : SMTP_EVERY_EXTENSION;
    conf.login_timeout_ms = more & LOGIN_TIME ? 100000 : 0;
    conf.message_timeout_ms = settings & SLOW ? 200000 : 0;
    return conf;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SETTINGS)
        return 0;
    const struct smtp_server_conf conf = settings_of(data);
    struct slice in = slice_of(data + SETTINGS, size - SETTINGS);
    struct watch w1 = {.settings = {data[0], data[1], data[2], data[3]}}, w2 = w1;
    struct drive whole, parts;
    play(&whole, &conf, &w1, in, 0);
    play(&parts, &conf, &w2, in, 1 + data[2] % 8);
    /* Injection before TLS is refused or dropped, as the split has it; where the driver refuses
     * content depends on its pieces. */
    if (!whole.tls_seen && !parts.tls_seen && !(data[0] & REFUSE_BODY)) {
        MUST(slice_eq(buf_slice(&whole.out), buf_slice(&parts.out)));
        MUST(slice_eq(buf_slice(&whole.actions), buf_slice(&parts.actions)));
    }
    drive_done(&whole);
    drive_done(&parts);
    return 0;
}
