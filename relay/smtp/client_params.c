/*
 * What a message asks for, against what the peer offers: the parameters of MAIL and RCPT, how the
 * content goes, and who cannot be served here at all. RFC 1870 (SIZE), 6152 (8BITMIME), 3030
 * (BINARYMIME), 6531 (SMTPUTF8), 3461 (DSN), 8689 (REQUIRETLS), 2852 (DELIVERBY), 6710
 * (MT-PRIORITY).
 */
#include "relay/mail/address.h"
#include "relay/smtp/client_priv.h"
#include "relay/smtp/orcpt.h"
#include "relay/smtp/xtext.h"

#define BY_MAX 999999999 /* RFC 2852 section 4: nine digits */
/* Content that mostly comes in one piece. */
#define ONE_PIECE (64U << 10)
#define FRESH_MS 1000

bool client_needs_utf8(const struct smtp_client_txn *t, size_t i)
{
    if (i == CLIENT_SENDER)
        return !address_is_ascii(t->sender) || (t->params.smtputf8 && t->utf8_header);
    return !address_is_ascii(t->rcpts[i]);
}

/* A deadline that the peer would refuse (section 4 there); past it only "notify" goes on. */
static bool is_too_late(const struct smtp_client *c, const struct smtp_client_txn *t)
{
    return t->params.by == MAIL_BY_RETURN && c->peer.deliver_by &&
           (t->by_s <= 0 || (uint64_t)t->by_s < c->peer.deliver_by_min);
}

enum fault client_lacks(const struct smtp_client *c, const struct smtp_client_txn *t, size_t i)
{
    bool secure = c->tls && c->conf->tls == SMTP_TLS_VERIFY && c->peer.requiretls;
    bool utf8 = client_needs_utf8(t, CLIENT_SENDER) || client_needs_utf8(t, i);
    if (t->asks && t->asks[i].fault != FAULT_NONE)
        return t->asks[i].fault;
    if (t->params.requiretls && !secure)
        return FAULT_REQUIRETLS;
    if (utf8 && !c->peer.smtputf8)
        return FAULT_SMTPUTF8;
    return is_too_late(c, t) ? FAULT_DELIVERBY : FAULT_NONE;
}

bool smtp_client_suits(const struct smtp_client *c, const struct smtp_client_txn *t)
{
    for (size_t i = 0; i < t->n_rcpts; i++)
        if (client_lacks(c, t, i) != FAULT_NONE)
            return false;
    return true;
}

/* Lines go by BDAT where that costs no more round trips than DATA: without PIPELINING each chunk
 * waits for its reply. */
enum content client_content_of(const struct smtp_client *c)
{
    bool chunking = c->peer.chunking && !c->conf->no_chunking;
    if (c->txn.params.body == MAIL_BODY_BINARYMIME)
        return c->peer.binarymime && chunking ? CONTENT_CHUNKS : CONTENT_REENCODED;
    bool cheap = c->peer.pipelining || c->txn.size <= ONE_PIECE;
    return chunking && cheap ? CONTENT_LINE_CHUNKS : CONTENT_LINES;
}

/* A peer that was silent for a while may be gone: what it has not answered then would be in doubt,
 * though nobody was there. */
bool client_may_go_at_once(const struct smtp_client *c, struct mono now)
{
    return client_in_chunks(c) && c->peer.pipelining && !c->txn.rehearsal &&
           !mono_reached(mono_add(c->heard, FRESH_MS), now);
}

/* ---- MAIL ---- */

/* What re-encoding makes of the size is not known before. */
static void add_content(const struct smtp_client *c, struct buf *out)
{
    if (c->peer.size && c->txn.size > 0 && c->content != CONTENT_REENCODED)
        buf_addf(out, " SIZE=%llu", (unsigned long long)c->txn.size);
    if (c->content == CONTENT_CHUNKS)
        buf_add_str(out, " BODY=BINARYMIME");
    else if (c->txn.eight_bit && (c->peer.eight_bit_mime || c->peer.smtputf8))
        buf_add_str(out, " BODY=8BITMIME");
    if (c->utf8)
        buf_add_str(out, " SMTPUTF8");
}

static void add_xtext(struct buf *out, const char *name, struct slice value)
{
    size_t before = out->n;
    buf_add_str(out, name);
    if (!xtext_encode(out, value))
        buf_cut(out, before);
}

static void add_dsn(const struct smtp_client *c, struct buf *out)
{
    if (!c->peer.dsn)
        return;
    if (c->txn.params.ret != MAIL_RET_UNSAID)
        buf_add_str(out, c->txn.params.ret == MAIL_RET_FULL ? " RET=FULL" : " RET=HDRS");
    if (c->txn.envid.n > 0)
        add_xtext(out, " ENVID=", c->txn.envid);
}

static void add_by(const struct smtp_client *c, struct buf *out)
{
    const struct mail_params *p = &c->txn.params;
    int64_t s = c->txn.by_s;
    if (!c->peer.deliver_by || p->by == MAIL_BY_NONE)
        return;
    s = s > BY_MAX ? BY_MAX : s < -BY_MAX ? -BY_MAX : s;
    buf_addf(out, " BY=%lld;%c%s", (long long)s, p->by == MAIL_BY_RETURN ? 'R' : 'N',
             p->by_trace ? "T" : "");
}

void client_mail_params(const struct smtp_client *c, struct buf *out)
{
    add_content(c, out);
    add_dsn(c, out);
    if (c->txn.params.requiretls)
        buf_add_str(out, " REQUIRETLS");
    add_by(c, out);
    if (c->peer.mt_priority && c->txn.params.priority != 0)
        buf_addf(out, " MT-PRIORITY=%d", c->txn.params.priority);
}

/* ---- RCPT ---- */

static void add_notify(unsigned notify, struct buf *out)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {
        {MAIL_NOTIFY_NEVER, "NEVER"},
        {MAIL_NOTIFY_SUCCESS, "SUCCESS"},
        {MAIL_NOTIFY_FAILURE, "FAILURE"},
        {MAIL_NOTIFY_DELAY, "DELAY"},
    };
    const char *before = " NOTIFY=";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (notify & words[i].bit) {
            buf_addf(out, "%s%s", before, words[i].word);
            before = ",";
        }
    }
}

static void add_orcpt(const struct smtp_client *c, struct slice orcpt, struct buf *out)
{
    const size_t before = out->n;
    buf_add_str(out, " ORCPT=");
    if (!orcpt_encode(out, orcpt, c->utf8))
        buf_cut(out, before);
}

void client_rcpt_params(const struct smtp_client *c, size_t i, struct buf *out)
{
    if (!c->peer.dsn || !c->txn.asks)
        return;
    add_notify(c->txn.asks[i].notify, out);
    if (c->txn.asks[i].orcpt.n > 0)
        add_orcpt(c, c->txn.asks[i].orcpt, out);
}
