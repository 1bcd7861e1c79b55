/*
 * Any bytes as a peer. The first byte of the input chooses the settings, the rest are turns, ended
 * by 0xFF: the peer says one whenever we have said all that we can; after the last one it goes
 * away, or falls silent.
 *
 * Laws: the session ends; each transaction begun ends once, with one verdict for each recipient; a
 * recipient counts as delivered only when the last thing said is a dot or the last chunk, and never
 * under REQUIRETLS outside of TLS; we say whole CRLF lines;
 * lines in pieces give the same actions and words as lines whole. (Turns whole are a third run and
 * not compared: a peer that answers before it was asked is noticed as far as its bytes are here.)
 */
#include "relay/smtp/client.h"
#include "relay/base/must.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_RCPTS 3
#define LAST SLICE_LIT("BDAT 7 LAST\r\n.line\r\n")

/* How the peer's words come: a turn at once, a line at once, a line in pieces. */
enum cut { TURNS, LINES, PIECES };

struct run {
    struct smtp_client_conf conf;
    struct smtp_client *client;
    struct mono now;
    struct smtp_client_txn txn;
    struct buf log, said;
    uint8_t key;
    enum cut cut;
    bool ready, body, closed, tls, login, challenged, taken_back;
    size_t front;    /* octets said when a transaction was begun behind a dot that is unanswered */
    unsigned in_txn; /* 2: with that one */
    unsigned begun, done, bodies;
};

static void take_verdict(struct run *r, const struct verdict *v)
{
    MUST(v->kind != VERDICT_NONE && enhanced_is(v->enhanced));
    MUST(!v->text || strlen(v->text) <= VERDICT_TEXT_MAX);
    if (v->kind == VERDICT_DELIVERED) {
        MUST(v->code / 100 == 2 && v->phase == PHASE_EOD);
        struct slice said = buf_slice(&r->said);
        if (r->in_txn == 2 || r->taken_back) /* the first of two */
            said = slice_head(said, r->front);
        bool dot = said.n >= 5 && slice_eq(slice_skip(said, said.n - 5), SLICE_LIT("\r\n.\r\n"));
        bool chunk = said.n >= LAST.n && slice_eq(slice_skip(said, said.n - LAST.n), LAST);
        MUST(dot || chunk);
        MUST(!r->txn.params.requiretls || r->conf.tls == SMTP_TLS_VERIFY);
    }
    buf_addf(&r->log, "%d/%d/%d/%d/%d/%u.%u.%u ", (int)v->kind, (int)v->scope, (int)v->class,
             (int)v->phase, (int)v->fault, v->enhanced.class, v->enhanced.subject,
             v->enhanced.detail);
}

static void take_act(struct run *r, const struct smtp_client_action *a)
{
    MUST(!r->closed);
    buf_addf(&r->log, "%d%d ", (int)a->act, a->reusable);
    switch (a->act) {
    case CLI_STARTTLS:
        r->tls = true;
        break;
    case CLI_LOGIN:
        MUST(!r->in_txn && r->begun == 0 && (r->conf.tls_on || r->conf.tls != SMTP_TLS_NONE));
        r->login = true;
        r->challenged = a->challenged;
        break;
    case CLI_READY:
        MUST(!r->in_txn);
        r->ready = true;
        break;
    case CLI_BODY:
        MUST(r->in_txn);
        r->body = true;
        break;
    case CLI_TXN_DONE:
        MUST(r->in_txn && a->n == N_RCPTS && !(r->in_txn == 2 && r->body));
        r->body = false;
        r->done++;
        for (size_t i = 0; i < a->n; i++)
            take_verdict(r, &a->verdicts[i]);
        r->in_txn--;
        r->taken_back = false;
        break;
    case CLI_FAILED:
        MUST(r->begun == 0);
        take_verdict(r, a->verdict);
        break;
    case CLI_CLOSE:
        MUST(!r->in_txn);
        r->closed = true;
        break;
    }
}

static void pull(struct run *r)
{
    struct smtp_client_action a;
    while (smtp_client_next(r->client, &a))
        take_act(r, &a);
    struct slice out = smtp_client_output(r->client);
    if (out.n == 0)
        return;
    buf_add(&r->said, out);
    smtp_client_sent(r->client, out.n, r->now);
    pull(r);
}

/* Does the one thing that the machine waits for; false: it waits for the peer. */
static bool act(struct run *r)
{
    if (r->closed)
        return false;
    if (r->tls) {
        r->tls = false;
        smtp_client_tls_done(r->client, (r->key & 8) ? FAULT_NONE : FAULT_TLS_VERIFY,
                             SLICE_LIT("no"), r->now);
    } else if (r->login) {
        r->login = false;
        if (!r->challenged)
            smtp_client_login(r->client, "PLAIN", SLICE_LIT("\0u\0p"), (r->key & 8) != 0, r->now);
        else if (r->key & 16)
            smtp_client_respond(r->client, SLICE_LIT("answer"), r->now);
        else
            smtp_client_login_failed(r->client, FAULT_LOGIN, SLICE_LIT("no"));
    } else if (r->body) {
        r->body = false;
        r->bodies++;
        smtp_client_body(r->client, SLICE_LIT(".line\r\n"), (r->key & 16) || r->bodies % 3 == 0,
                         r->now);
    } else if (r->ready && r->begun < 3) {
        r->ready = false;
        r->in_txn++;
        r->begun++;
        smtp_client_begin(r->client, &r->txn, r->now);
    } else if (r->in_txn == 1 && r->begun < 3 && (r->key & 8) &&
               smtp_client_takes_another(r->client)) {
        r->front = r->said.n;
        r->in_txn++;
        r->begun++;
        smtp_client_begin_behind(r->client, &r->txn, r->now);
        if ((r->key & 16) && r->begun == 3) {
            smtp_client_take_back(r->client);
            r->taken_back = true;
            r->in_txn--;
            r->done++; /* it has no end of its own */
        }
    } else if (r->ready) {
        r->ready = false;
        smtp_client_quit(r->client, r->now);
    } else {
        return false;
    }
    pull(r);
    return true;
}

static void hear_bytes(struct run *r, struct slice bytes)
{
    while (bytes.n && !r->closed) {
        size_t n = r->cut == PIECES ? 1 + (bytes.n * 7 + r->key) % 5 : bytes.n;
        size_t taken = smtp_client_bytes(r->client, slice_head(bytes, n), r->now);
        MUST(taken > 0 && taken <= bytes.n);
        bytes = slice_skip(bytes, taken);
        pull(r);
    }
}

static void hear(struct run *r, struct slice turn)
{
    if (r->cut == TURNS)
        hear_bytes(r, turn);
    while (r->cut != TURNS && turn.n && !r->closed) {
        size_t n = slice_find(turn, '\n') + 1;
        hear_bytes(r, slice_head(turn, n));
        turn = slice_skip(turn, n);
        while (act(r))
            ;
    }
}

static void end(struct run *r)
{
    if (!r->closed && (r->key & 32)) {
        for (int i = 0; i < 4 && !r->closed; i++) {
            r->now = smtp_client_deadline(r->client);
            smtp_client_tick(r->client, r->now);
            pull(r);
            while (act(r))
                ;
        }
    } else if (!r->closed) {
        smtp_client_lost(r->client, SLICE_LIT("gone"), r->now);
        pull(r);
    }
    MUST(r->closed && !r->in_txn && r->begun == r->done);
    MUST(smtp_client_output(r->client).n == 0);
    MUST(smtp_client_deadline(r->client).ms == MONO_NEVER.ms);
    for (size_t i = 0; i < r->said.n; i++)
        MUST(r->said.p[i] != '\n' || (i > 0 && r->said.p[i - 1] == '\r'));
}

static void ask_for_all(struct smtp_client_txn *t)
{
    static const struct smtp_client_ask asks[N_RCPTS] = {
        {.notify = MAIL_NOTIFY_NEVER, .orcpt = {(const uint8_t *)"rfc822;a+b=c d", 14}},
        {.notify = MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY},
        {.orcpt = {(const uint8_t *)"utf-8;\xc3\xa4=", 9}}};
    t->asks = asks;
    t->envid = SLICE_LIT("an id");
    t->eight_bit = true;
    t->by_s = 100;
    t->params = (struct mail_params){.body = MAIL_BODY_BINARYMIME,
                                     .ret = MAIL_RET_HDRS,
                                     .by = MAIL_BY_RETURN,
                                     .by_trace = true,
                                     .smtputf8 = true,
                                     .priority = -9};
}

static void ask_for_more(struct smtp_client_txn *t)
{
    static const struct slice rcpts[N_RCPTS] = {{(const uint8_t *)"\xc3\xa4@example.org", 14},
                                                {(const uint8_t *)"b@example.org", 13},
                                                {(const uint8_t *)"c@example.org", 13}};
    t->rcpts = rcpts;
    t->params.requiretls = t->params.by == MAIL_BY_NONE;
}

static void session(uint8_t key, struct slice script, enum cut cut, struct run *r)
{
    static const struct slice rcpts[N_RCPTS] = {{(const uint8_t *)"a@example.org", 13},
                                                {(const uint8_t *)"b\r\n@example.org", 15},
                                                {(const uint8_t *)"c@example.org", 13}};
    *r = (struct run){.key = key, .cut = cut};
    r->log = r->said = BUF_MAX((size_t)16 << 20);
    r->conf = (struct smtp_client_conf){.helo = SLICE_LIT("me"),
                                        .tls = (enum smtp_tls_level)(key % 4),
                                        .tls_on = (key & 4) != 0,
                                        .login = (key & 192) == 192,
                                        .own_name = SLICE_LIT("us")};
    r->txn = (struct smtp_client_txn){
        .sender = SLICE_LIT("s@example.net"), .rcpts = rcpts, .n_rcpts = N_RCPTS, .size = 21};
    if (key & 64)
        ask_for_all(&r->txn);
    if (key & 128)
        ask_for_more(&r->txn);
    r->client = smtp_client_new(&r->conf, r->now);
    pull(r);
    while (script.n && !r->closed) {
        hear(r, slice_cut(&script, 0xff));
        while (act(r))
            ;
    }
    end(r);
    smtp_client_free(r->client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct run runs[3];
    for (enum cut cut = TURNS; cut <= PIECES; cut++)
        session(data[0], slice_of(data + 1, size - 1), cut, &runs[cut]);
    MUST(slice_eq(buf_slice(&runs[LINES].log), buf_slice(&runs[PIECES].log)));
    MUST(slice_eq(buf_slice(&runs[LINES].said), buf_slice(&runs[PIECES].said)));
    for (enum cut cut = TURNS; cut <= PIECES; cut++) {
        buf_done(&runs[cut].log);
        buf_done(&runs[cut].said);
    }
    return 0;
}
