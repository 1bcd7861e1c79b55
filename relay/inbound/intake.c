/*
 * Intake: the content on its way to the spool. Small content is gathered in memory and stored in
 * one request; what grows past SPOOL_INLINE_MAX goes to a body file piece by piece while it
 * arrives, with at most one piece out and one being filled. The header section is judged as soon as
 * it has ended (content.c), then written again with Received: in front (RFC 5321 section 4.4) and
 * its fix-ups (relay/mail/fixup). The body is not touched, and copied once.
 */
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/inbound/content.h"
#include "relay/inbound/private.h"
#include "relay/inbound/signing.h"
#include "relay/mail/address.h"
#include "relay/mail/dkim.h"
#include <stdlib.h>

/* What the header section grows by: Received and fix-ups; where mail is signed, signatures. */
#define PREFIX_MAX 8192
#define GROWTH_MAX (PREFIX_MAX + DKIM_FIELDS_MAX)
/* What goes to a file goes in pieces of this size: one is out, one is being filled. */
#define PIECE_MAX (64u * 1024)
/* What gathers in memory, and the last that was read. */
#define CONTENT_MAX (SPOOL_INLINE_MAX + 2 * NET_INPUT_MAX)
/* While the content of all sessions takes more memory than this, what is larger than a piece goes
 * to a file at once. */
#define EASY_BYTES (INT64_C(64) * 1024 * 1024)

/* The disk's answers in the client's words; the last one is for all the rest. */
static const struct {
    int errors[2];
    struct smtp_reply reply;
} disk_replies[] = {
    {{-ENOSPC, -EDQUOT},
     SMTP_REPLY_INIT(452, 4, 3, 1, "Not enough disk space here, try again later")},
    {{-EXFULL}, SMTP_REPLY_INIT(452, 4, 3, 2, "The queue here is full, try again later")},
    {{-ENOBUFS},
     SMTP_REPLY_INIT(452, 4, 3, 2, "Too much is on its way through here, try again later")},
    {{-ETIMEDOUT},
     SMTP_REPLY_INIT(451, 4, 3, 0,
                     "The disk here is too slow, the message was not taken, try again later")},
    {{0}, SMTP_REPLY_INIT(451, 4, 3, 0, "The message could not be stored, try again later")},
};

const struct smtp_reply *intake_disk_reply(int error)
{
    size_t i = 0;
    while (disk_replies[i].errors[0] && disk_replies[i].errors[0] != error &&
           disk_replies[i].errors[1] != error)
        i++;
    return &disk_replies[i].reply;
}

void intake_begin(struct session *s)
{
    struct intake *t = &s->intake;
    t->begun = true;
    header_scan_init(&t->scan, (size_t)s->listener->max_header_size);
    buf_init(&t->content, CONTENT_MAX);
    t->id = spooler_new_id(wall_now());
    /* A session of a connection pool lasts for days: a key that was withdrawn signs no more. */
    t->keys = conf_ref(s->in->conf);
}

/* RFC 3848; with SMTPUTF8 RFC 6531 section 4.3. */
static const char *protocol(const struct session *s)
{
    static const char *const names[2][2][2] = {
        {{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}},
        {{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}}};
    if (!smtp_server_esmtp(s->served.smtp))
        return "SMTP";
    return names[s->txn.params.smtputf8][smtp_server_tls(s->served.smtp)][s->auth.user != NULL];
}

static void write_received(struct session *s, struct slice id, struct buf *out)
{
    struct tls_info tls = net_conn_tls_info(s->served.conn);
    const bool client = s->listener->received_client;
    const bool user = s->listener->received_user && s->auth.user;
    struct received_info r = {
        .helo = client ? smtp_server_helo(s->served.smtp) : SLICE_NONE,
        .client_ip = client ? slice_str(s->names.peer_ip) : SLICE_NONE,
        .user = user ? slice_str(s->auth.user) : SLICE_NONE,
        .hostname = slice_str(s->conf->hostname),
        .queue_id = id,
        .protocol = slice_str(protocol(s)),
        .tls_version = slice_str(tls.version),
        .tls_cipher = slice_str(tls.cipher),
        .recipient = s->txn.n_rcpts == 1 ? s->txn.rcpts[0].address : SLICE_NONE,
        .now = wall_now(),
    };
    header_write_received(out, &r);
}

/* The copy for the log is the scanner's; a Message-ID of ours was not there to be scanned. */
static void note_message_id(struct session *s, struct slice id)
{
    struct buf *kept = &s->intake.scan.message_id;
    buf_reset(kept);
    buf_addf(kept, "<%.*s@%s>", SLICE_ARG(id), s->conf->hostname);
}

/* A signature is over the fields as they stand below it, so they are written first. */
static void write_fields(struct session *s, const struct fixup_rules *rules,
                         const struct fixup_words *words, struct buf *out)
{
    const struct slice section = content_section(s);
    if (!s->intake.keys->dkim_keys) {
        fixup_write(out, &s->intake.fixup, rules, words, section);
        return;
    }
    DEFER(buf_done) struct buf fields = BUF_MAX(PREFIX_MAX + section.n);
    fixup_write(&fields, &s->intake.fixup, rules, words, section);
    signing_begin(s, buf_slice(&fields), words->now, out);
    buf_add(out, buf_slice(&fields));
}

/* The header section as it is stored, with the empty line behind it. What follows in the gathered
 * content is the body. */
static void write_head(struct session *s, struct buf *out)
{
    struct intake *t = &s->intake;
    const struct fixup_rules rules = content_rules(s);
    char id[QUEUE_ID_SIZE];
    queue_id_write(t->id, id);
    const struct fixup_words words = {.queue_id = slice_str(id),
                                      .hostname = slice_str(s->conf->hostname),
                                      .sender = s->txn.sender,
                                      .now = wall_now()};
    MUST(t->judged);
    write_received(s, slice_str(id), out);
    write_fields(s, &rules, &words, out);
    if (!t->scan.facts.has_message_id && rules.message_id == FIXUP_ADD)
        note_message_id(s, slice_str(id));
}

static struct slice gathered_body(const struct session *s)
{
    return slice_skip(buf_slice(&s->intake.content), s->intake.scan.facts.header_n);
}

/* What this content takes, here and on its way to the disk, is in the gauge that the marks look at.
 */
static void account(struct session *s)
{
    struct intake *t = &s->intake;
    const size_t now = t->content.cap + t->out_bytes;
    if (now != t->counted)
        metric_add(M_INTAKE_BYTES, (int64_t)now - (int64_t)t->counted);
    t->counted = now;
}

/* Hands what has gathered to the body file. */
static void send_step(struct session *s, enum spooler_body_step step)
{
    struct intake *t = &s->intake;
    struct spooler_body *b = must_alloc(sizeof *b);
    b->msg.type = SPOOLER_BODY;
    b->reply = &s->in->port;
    b->cookie = s;
    b->id = t->id;
    b->step = step;
    if (step == SPOOLER_BODY_WRITE) {
        if (!t->to_file) { /* the first piece carries the header section */
            buf_init(&b->bytes, GROWTH_MAX + t->content.n);
            write_head(s, &b->bytes);
            signing_body(s, gathered_body(s));
            buf_add(&b->bytes, gathered_body(s));
            buf_done(&t->content);
            t->to_file = true;
        } else {
            signing_body(s, buf_slice(&t->content));
            b->bytes = t->content;
            t->content = (struct buf){0};
        }
        MUST(!b->bytes.overflow);
        t->stored += b->bytes.n;
        t->out_bytes = b->bytes.cap;
        buf_init(&t->content, CONTENT_MAX);
    } else if (step == SPOOLER_BODY_FINISH) {
        size_t at;
        if (signing_end(s, &b->bytes, &at))
            b->at = at;
    }
    t->step_out = true;
    account(s);
    s->pending++;
    port_send(spooler_port(s->in->shared->spooler), &b->msg);
}

static void reject_all(struct session *s, const struct smtp_reply *r)
{
    for (size_t i = 0; i < s->txn.n_rcpts; i++)
        session_rejected(s, r, s->txn.sender, s->txn.rcpts[i].address);
}

/* Once, when the header section has ended: a message of 50 MB need not come whole to be refused. */
static const struct smtp_reply *judge(struct session *s, struct content_refusal *room)
{
    struct intake *t = &s->intake;
    if (t->judged || !t->scan.done)
        return NULL;
    const struct smtp_reply *r = content_judge(s, room);
    t->judged = !r;
    return r;
}

/* More than this is handed on. The first piece carries the header section, judged and whole. */
static size_t gather_max(const struct session *s)
{
    const struct intake *t = &s->intake;
    const size_t growth = t->keys->dkim_keys ? GROWTH_MAX : PREFIX_MAX;
    const bool tight = t->judged && metric_get(M_INTAKE_BYTES) > EASY_BYTES;
    return t->to_file || tight ? PIECE_MAX : SPOOL_INLINE_MAX - growth;
}

void intake_body(struct session *s, struct slice piece, struct mono now)
{
    struct intake *t = &s->intake;
    if (!t->begun)
        intake_begin(s);
    header_scan_bytes(&t->scan, piece);
    MUST(buf_add(&t->content, piece));
    struct content_refusal room;
    const struct smtp_reply *refused = judge(s, &room);
    if (refused) {
        reject_all(s, refused);
        smtp_server_body_refuse(s->served.smtp, refused);
        return;
    }
    if (!t->step_out && t->content.n > gather_max(s))
        send_step(s, SPOOLER_BODY_WRITE);
    account(s);
    if (t->step_out && t->content.n > PIECE_MAX)
        t->held = true; /* taken when the step comes back: back pressure up to the socket */
    else
        smtp_server_body_taken(s->served.smtp, now);
}

static void refuse_commit(struct session *s, const struct smtp_reply *r)
{
    reject_all(s, r);
    session_forget_message(s);
    session_answer(s, r);
}

/* Some libraries ask for SMTPUTF8 with every message. What nothing in it needs is not asked of the
 * next host either, which may not have it (RFC 6531 section 3.2; MIME parts are not looked into).
 */
static bool needs_smtputf8(const struct session *s)
{
    const struct transaction *t = &s->txn;
    bool needs = s->intake.scan.facts.eight_bit_header || !address_is_ascii(t->sender);
    for (size_t i = 0; i < t->n_rcpts && !needs; i++)
        needs = !address_is_ascii(t->rcpts[i].address);
    return needs;
}

static void fill_envelope(struct session *s, struct envelope *e)
{
    struct intake *t = &s->intake;
    *e = (struct envelope){
        .user = s->auth.user ? slice_str(s->auth.user) : SLICE_NONE,
        .client_ip = slice_str(s->names.peer_ip),
        .client_helo = smtp_server_helo(s->served.smtp),
        .listener = slice_str(s->listener->name),
        .session_id = slice_str(s->id),
        .auth_mech = s->auth.user ? slice_str(s->auth.mechanism) : SLICE_NONE,
        .message_id = buf_slice(&t->scan.message_id),
        .tags = buf_slice(&t->fixup.tags),
        .size = t->stored,
        /* A From that was added has the sender's letters. */
        .eight_bit = t->scan.facts.eight_bit || !address_is_ascii(s->txn.sender),
    };
    transaction_fill(&s->txn, e);
    rules_fill(s, e);
    e->params.tls_optional = t->fixup.tls_optional && !e->params.requiretls;
    e->params.smtputf8 = e->params.smtputf8 && needs_smtputf8(s);
}

static int64_t reply_within(const struct session *s)
{
    return s->conf->debug_reply_within_ms ? s->conf->debug_reply_within_ms : REPLY_WITHIN_MS;
}

static void send_store(struct session *s)
{
    struct intake *t = &s->intake;
    struct spooler_store *st = must_alloc(sizeof *st);
    st->msg.type = SPOOLER_STORE;
    st->reply = &s->in->port;
    st->cookie = s;
    st->id = t->id;
    st->asked = t->ended;
    st->patience_ms = reply_within(s);
    st->body = t->body;
    t->body = NULL;
    t->storing = true;
    account(s);
    fill_envelope(s, &st->envelope);
    st->dropped = s->txn.dropped;
    st->n_dropped = s->txn.n_dropped;
    s->pending++;
    session_set_coming(s, false); /* before it is there */
    port_send(spooler_port(s->in->shared->spooler), &st->msg);
}

/* In the place that was kept for them. */
static void sign_inline(struct session *s)
{
    struct buf fields;
    size_t at;
    if (!signing_end(s, &fields, &at))
        return;
    memcpy(s->intake.body->bytes + at, fields.p, fields.n);
    buf_done(&fields);
}

static void make_inline_body(struct session *s)
{
    struct intake *t = &s->intake;
    struct buf head = BUF_MAX(GROWTH_MAX + t->content.n);
    const struct slice body = gathered_body(s);
    write_head(s, &head);
    MUST(!head.overflow);
    t->stored = head.n + body.n;
    t->body = body_new(t->stored);
    memcpy(t->body->bytes, head.p, head.n);
    if (body.n > 0)
        memcpy(t->body->bytes + head.n, body.p, body.n);
    signing_body(s, body);
    sign_inline(s);
    buf_done(&head);
    buf_done(&t->content);
    t->out_bytes = t->stored;
}

/* One thing after the other: the rest of the file, its sync, then the record that names it. */
static void advance_commit(struct session *s)
{
    struct intake *t = &s->intake;
    if (t->error)
        refuse_commit(s, intake_disk_reply(t->error));
    else if (!t->to_file) {
        make_inline_body(s);
        send_store(s);
    } else if (t->content.n > 0)
        send_step(s, SPOOLER_BODY_WRITE);
    else
        send_step(s, SPOOLER_BODY_FINISH);
}

void intake_commit(struct session *s, struct mono now)
{
    struct intake *t = &s->intake;
    if (!t->begun)
        intake_begin(s);
    header_scan_end(&t->scan);
    struct content_refusal room;
    const struct smtp_reply *refused = judge(s, &room);
    if (refused) {
        refuse_commit(s, refused);
        return;
    }
    t->committing = true;
    t->ended = now;
    served_wait_until(&s->served, mono_add(now, reply_within(s)));
    if (!t->step_out)
        advance_commit(s);
}

/* Once STORE is out, the spooler keeps the time: only it knows whether the record is durable. */
void intake_late(struct session *s)
{
    if (s->intake.committing && !s->intake.storing)
        refuse_commit(s, intake_disk_reply(-ETIMEDOUT));
}

void intake_body_answer(struct session *s, struct spooler_body *b)
{
    struct intake *t = &s->intake;
    bool ours = t->begun && t->id == b->id;
    bool finished = b->step == SPOOLER_BODY_FINISH && b->error == 0;
    int error = b->error;
    buf_done(&b->bytes);
    free(b);
    if (!session_back(s) || s->closed || !ours)
        return;
    t->step_out = false;
    t->out_bytes = 0;
    account(s);
    if (error && !t->error)
        t->error = error;
    if (t->committing) {
        if (finished)
            send_store(s);
        else
            advance_commit(s);
        return;
    }
    if (t->error) {
        reject_all(s, intake_disk_reply(t->error));
        smtp_server_body_refuse(s->served.smtp, intake_disk_reply(t->error));
    }
    if (t->held) {
        t->held = false;
        smtp_server_body_taken(s->served.smtp, loop_now(s->in->loop));
    }
    served_resume(&s->served);
}

void intake_store_answer(struct session *s, struct spooler_store *st)
{
    int error = st->error;
    char id[QUEUE_ID_SIZE], text[64];
    queue_id_write(st->id, id);
    free(st);
    if (error == 0) {
        metric_add(M_MESSAGES_ACCEPTED, 1);
        metric_add(M_RECIPIENTS_ACCEPTED, (int64_t)s->txn.n_rcpts);
        s->intake.to_file = false; /* the file is the spool's now */
        s->rejections = 0;
    }
    s->intake.storing = false;
    if (!session_back(s))
        return;
    if (error) {
        refuse_commit(s, intake_disk_reply(error));
        return;
    }
    session_forget_message(s);
    snprintf(text, sizeof text, "Ok: queued as %s", id);
    struct smtp_reply ok = {.code = 250, .enhanced = {2, 0, 0}, .text = slice_str(text)};
    session_answer(s, &ok);
}

/* Forgets the message; a body file begun is given up (the order of requests makes this the last
 * word on it). */
void intake_abort(struct session *s)
{
    struct intake *t = &s->intake;
    if (!t->begun)
        return;
    if (t->to_file && !t->storing && !s->in->freeing) {
        struct spooler_body *b = must_alloc(sizeof *b);
        b->msg.type = SPOOLER_BODY;
        b->id = t->id;
        b->step = SPOOLER_BODY_ABANDON;
        port_send(spooler_port(s->in->shared->spooler), &b->msg);
    }
    header_scan_done(&t->scan);
    fixup_done(&t->fixup);
    buf_done(&t->content);
    body_unref(t->body);
    dkim_sign_free(t->sign);
    conf_unref(t->keys);
    metric_add(M_INTAKE_BYTES, -(int64_t)t->counted);
    s->intake = (struct intake){0};
}
