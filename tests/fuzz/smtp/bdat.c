/*
 * Content cut into chunks (checklist 4, 13). The input's content is sent by BDAT, in chunks whose
 * sizes the input chooses, and behind it a NOOP. Laws: whatever is in the content, the chunks are
 * consumed to the octet and the NOOP is heard as one, once; BINARYMIME content reaches the driver
 * byte for byte, content of lines either so (its last line ended) or not at all, with a refusal;
 * the size limit holds; a reply to each command and no more.
 *
 * Input: flags, a split, the number of sizes, the sizes, the content.
 */
#include "tests/talks/drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BINARY = 1, SMALL = 2, NO_RCPT = 4, EMPTY_LAST = 8, NO_MAIL = 16 };
enum { LIMIT = 200 };

struct chunks {
    uint8_t flags;
    uint64_t split;
    struct slice sizes, content;
    unsigned commands; /* BDATs that were sent */
    bool refused;      /* one was answered with a refusal: then no more come */
};

static struct smtp_reply yes(struct drive *d, const struct smtp_server_action *a)
{
    (void)d;
    return a->act == SRV_BODY ? (struct smtp_reply){0} : SMTP_REPLY(250, 2, 0, 0, "Ok");
}

static unsigned replies(const struct drive *d)
{
    unsigned n = 0;
    for (struct slice out = buf_slice(&d->out), line; out.n;) {
        line = slice_cut(&out, '\n');
        n += line.n > 3 && line.p[3] == ' ';
    }
    return n;
}

static void send(struct drive *d, struct chunks *c, struct slice piece, bool last)
{
    char head[48];
    const unsigned before = replies(d);
    snprintf(head, sizeof head, "BDAT %zu%s\r\n", piece.n, last ? " LAST" : "");
    DEFER(buf_done) struct buf all = BUF_MAX(1 << 21);
    buf_add_str(&all, head);
    buf_add(&all, piece);
    const size_t from = d->out.n;
    drive_split(d, buf_slice(&all), c->split);
    c->commands++;
    MUST(d->closed || (d->unread.n == 0 && replies(d) == before + 1));
    c->refused = d->closed || d->out.p[from] != '2';
}

static void send_all(struct drive *d, struct chunks *c)
{
    struct slice rest = c->content;
    for (size_t i = 0; i < c->sizes.n && rest.n && !c->refused; i++) {
        send(d, c, slice_head(rest, c->sizes.p[i]), false);
        rest = slice_skip(rest, c->sizes.p[i]);
    }
    if (c->flags & EMPTY_LAST && !c->refused) {
        send(d, c, rest, false);
        rest = SLICE_NONE;
    }
    if (!c->refused)
        send(d, c, rest, true);
}

/* The driver's side: exactly the content, or a reason. */
static void check(const struct drive *d, const struct chunks *c)
{
    const bool commits = drive_has(buf_slice(&d->actions), "\ncommit\n");
    const bool nobody = c->flags & (NO_RCPT | NO_MAIL);
    struct slice got = buf_slice(&d->body), want = c->content;
    MUST(commits == !c->refused);
    if (!commits)
        return;
    MUST(!nobody && !(c->flags & SMALL && want.n > LIMIT));
    MUST(slice_starts(got, want));
    struct slice more = slice_skip(got, want.n);
    if (c->flags & BINARY)
        MUST(more.n == 0);
    else
        MUST(more.n == 0 ? want.n == 0 || slice_iends(want, SLICE_LIT("\r\n"))
                         : slice_eq(more, SLICE_LIT("\r\n")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct slice in = slice_of(data + 3, size - 3);
    struct chunks c = {.flags = data[0], .split = data[1] % 8, .sizes = slice_head(in, data[2])};
    c.content = slice_skip(in, data[2]);
    struct smtp_server_conf conf = drive_conf();
    conf.max_message_size = c.flags & SMALL ? LIMIT : 0;
    struct drive d;
    drive_init(&d, &conf, false);
    d.answer = yes;
    drive_arrive(&d, SLICE_LIT("EHLO x\r\n"));
    if (!(c.flags & NO_MAIL))
        drive_arrive(&d, c.flags & BINARY ? SLICE_LIT("MAIL FROM:<a@b.test> BODY=BINARYMIME\r\n")
                                          : SLICE_LIT("MAIL FROM:<a@b.test>\r\n"));
    if (!(c.flags & (NO_RCPT | NO_MAIL)))
        drive_arrive(&d, SLICE_LIT("RCPT TO:<c@d.test>\r\n"));
    send_all(&d, &c);
    check(&d, &c);
    const unsigned before = replies(&d);
    if (!d.closed) {
        drive_arrive(&d, SLICE_LIT("NOOP\r\n"));
        MUST(replies(&d) == before + 1 && slice_iends(buf_slice(&d.out), SLICE_LIT("Ok\r\n")));
    }
    drive_done(&d);
    return 0;
}
