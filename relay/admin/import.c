/*
 * import.begin, import.recipients, import.data, import.end: a message that comes from another
 * host's queue, or (submit) from a program of this host, in steps, each of them answered. It is
 * judged as at the front door: addresses by mail/address, lines by smtp/dot, limits by the
 * listeners' configuration, and nothing is told before it is durable. What comes from a queue is
 * taken as it stands, the trace fields are in it; what is submitted is mended (import_mend.c).
 *
 * A refusal forgets the message that was under way; the peer goes on with another one.
 */
#include "relay/admin/import.h"
#include "relay/admin/private.h"
#include "relay/base/arena.h"
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/mail/dkim.h"
#include "relay/mail/header.h"
#include "relay/smtp/dot.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_MAX = 1 << 20,
    MENDED_MAX = 16384 + DKIM_FIELDS_MAX, /* what import_mend adds at most */
    CONTENT_MAX = SPOOL_INLINE_MAX + REQUEST_LINE_MAX + MENDED_MAX,
    PATIENCE_MS = 30000 /* less than a client of the socket waits */
};

struct import {
    struct arena arena; /* texts of the envelope */
    struct slice sender, user, envid, actor, reason;
    struct slice tags, route;
    struct mail_params params;
    struct wall release, by_deadline;
    uint64_t expires_s, size, came; /* octets told, and come */
    bool hold, submit, mended, delay_told;
    struct import_rcpts rcpts;
    struct spooler_dropped *dropped; /* of them */
    size_t n_dropped;
    char why[ADMIN_SUPPRESSED_WHY]; /* the last one is on the suppression list */
    struct dot_reader dot;
    struct header_scan scan;
    struct buf content; /* not yet handed on */
    struct conf *conf;  /* whose keys sign it; NULL: none do */
    struct dkim_sign *sign;
    size_t sign_at; /* where its fields belong in the content */
    uint64_t id, stored;
    bool to_file, ending, storing; /* storing: the file's fate is the spooler's */
};

/* ---- life ---- */

static void end_signing(struct import *i, struct buf *ret_fields)
{
    buf_init(ret_fields, DKIM_FIELDS_MAX);
    dkim_sign_end(i->sign, ret_fields);
    dkim_sign_free(i->sign);
    i->sign = NULL;
    metric_add(M_MESSAGES_SIGNED, 1);
}

static void send_body(struct peer *p, enum spooler_body_step step, bool answered)
{
    struct import *i = p->import;
    struct spooler_body *b = must_alloc(sizeof *b);
    b->msg.type = SPOOLER_BODY;
    b->id = i->id;
    b->step = step;
    if (answered) {
        b->reply = &p->admin->from_spool;
        b->cookie = p;
        p->task.asked = true;
        p->admin->outstanding++;
    }
    if (step == SPOOLER_BODY_WRITE) {
        i->to_file = true;
        i->stored += i->content.n;
        b->bytes = i->content;
        buf_init(&i->content, CONTENT_MAX);
    } else if (step == SPOOLER_BODY_FINISH && i->sign) {
        end_signing(i, &b->bytes);
        b->at = i->sign_at;
    }
    port_send(spooler_port(p->admin->spooler), &b->msg);
}

void import_drop(struct peer *p)
{
    struct import *i = p->import;
    if (!i)
        return;
    if (i->to_file && !i->storing)
        send_body(p, SPOOLER_BODY_ABANDON, false);
    import_rcpts_done(&i->rcpts);
    free(i->dropped);
    header_scan_done(&i->scan);
    buf_done(&i->content);
    dkim_sign_free(i->sign);
    conf_unref(i->conf);
    arena_done(&i->arena);
    free(i);
    p->import = NULL;
}

/* message may be the import's own. */
static void refuse(struct peer *p, const char *code, const char *message)
{
    char text[ADMIN_SUPPRESSED_WHY];
    snprintf(text, sizeof text, "%s", message);
    import_drop(p);
    peer_error(p, code, text);
}

/* The storage's trouble, which is not the message's fault. */
static void refuse_disk(struct peer *p, int error)
{
    char text[200];
    import_disk_text(text, sizeof text, error);
    refuse(p, "unavailable", text);
}

/* ---- begin ---- */

static bool takes_mail(struct peer *p)
{
    const struct admin *a = p->admin;
    const int disk = spooler_accepting(a->spooler);
    if (a->hooks.draining(a->hooks.ctx))
        refuse(p, "unavailable", "the daemon takes no new mail: it drains or stops");
    else if (disk < 0)
        refuse_disk(p, disk);
    else
        return true;
    return false;
}

static const char *wrong_envelope(const struct peer *p, const struct import_args *a)
{
    uint64_t id;
    if (!import_sender_ok(buf_slice(&a->sender), a->asked.params.smtputf8))
        return "the sender is no address";
    if (a->user.n && !import_text_ok(buf_slice(&a->user), IMPORT_USER_MAX))
        return "the user is no name";
    if (a->envid.n && !import_text_ok(buf_slice(&a->envid), IMPORT_ENVID_MAX))
        return "envid is not printable ASCII, or too long";
    if (a->was.n && !queue_id_parse(buf_slice(&a->was), &id))
        return "was is no queue id";
    if (a->submit && a->asked.tags.n)
        return "the tags of a message that is submitted stand in its header, as X-Postwain-Tag";
    if (a->size > import_limits(p->admin->conf).max_message_size)
        return "the message is larger than max-message-size of every listener";
    return asked_wrong(&a->asked);
}

static void begin(struct peer *p)
{
    const struct import_args *a = &p->task.request.import;
    import_drop(p);
    if (!takes_mail(p))
        return;
    const char *why = wrong_envelope(p, a);
    if (why) {
        peer_error(p, "refused", why);
        return;
    }
    DEFER(buf_done) struct buf reason = BUF_MAX(100);
    if (a->was.n)
        buf_addf(&reason, "imported, was %.*s", SLICE_ARG(buf_slice(&a->was)));
    struct import *i = p->import = must_alloc(sizeof *i);
    arena_init(&i->arena, ARENA_MAX);
    i->sender = arena_dup(&i->arena, buf_slice(&a->sender));
    i->user = arena_dup(&i->arena, a->submit ? slice_str(p->actor) : buf_slice(&a->user));
    i->envid = arena_dup(&i->arena, buf_slice(&a->envid));
    i->tags = arena_dup(&i->arena, buf_slice(&a->asked.tags));
    i->route = arena_dup(&i->arena, buf_slice(&a->asked.route));
    i->params = a->asked.params;
    i->release = a->asked.release;
    i->by_deadline = a->asked.by_deadline;
    i->actor = arena_dup(&i->arena, slice_str(p->actor));
    i->reason = arena_dup(&i->arena, buf_slice(&reason));
    i->size = a->size;
    i->expires_s = a->expires_s < UINT32_MAX ? (uint64_t)a->expires_s : UINT32_MAX;
    i->hold = a->hold;
    i->submit = a->submit;
    i->delay_told = a->delay_told;
    i->dot.chunked = true;
    i->dot.binary = i->params.body == MAIL_BODY_BINARYMIME;
    i->id = spooler_new_id(wall_now());
    header_scan_init(&i->scan, i->submit ? HEADER_SCAN_MAX : IMPORT_HEADER_MAX);
    buf_init(&i->content, CONTENT_MAX);
    peer_done(p, json_object());
}

/* ---- recipients ---- */

/* Of the recipient that was added last. NULL, or why it is refused. */
static const char *ask_suppressed(struct peer *p, struct slice address)
{
    struct import *i = p->import;
    const struct admin_hooks *h = &p->admin->hooks;
    bool drop = false;
    if (!h->suppress_asked(h->ctx, i->user, address, i->why, &drop))
        return NULL;
    if (!drop)
        return i->why;
    i->dropped = must_realloc(i->dropped, (i->n_dropped + 1) * sizeof *i->dropped);
    i->dropped[i->n_dropped++] = (struct spooler_dropped){
        .rcpt = (uint32_t)i->rcpts.n - 1, .reason = arena_dup(&i->arena, slice_str(i->why))};
    return NULL;
}

/* NULL, or why not. */
static const char *add_recipient(struct peer *p, const json_t *row)
{
    struct import *i = p->import;
    const json_t *address = json_object_get(row, "recipient"),
                 *orcpt = json_object_get(row, "orcpt"), *notify = json_object_get(row, "notify");
    if (!json_is_string(address) || (orcpt && !json_is_string(orcpt)) ||
        (notify && !json_is_string(notify)))
        return "a recipient is an object with the texts recipient and, perhaps, orcpt and notify";
    struct envelope_rcpt r = {
        .address = slice_of(json_string_value(address), json_string_length(address)),
        .orcpt =
            orcpt ? slice_of(json_string_value(orcpt), json_string_length(orcpt)) : SLICE_NONE};
    const char *why = import_rcpt_wrong(&r, i->params.smtputf8);
    if (why)
        return why;
    if (notify && !asked_notify_read(slice_str(json_string_value(notify)), &r.notify))
        return "notify is not NEVER, or some of SUCCESS, FAILURE and DELAY";
    if (slice_find(r.address, '@') == r.address.n) /* "postmaster" alone is ours */
        r.address = slice_str(p->admin->conf->postmaster);
    if (import_rcpts_has(&i->rcpts, r.address))
        return NULL;
    if (i->rcpts.n >= import_limits(p->admin->conf).max_recipients)
        return "there are more recipients than max-recipients of every listener";
    r.address = arena_dup(&i->arena, r.address);
    r.orcpt = r.orcpt.n ? arena_dup(&i->arena, r.orcpt) : SLICE_NONE;
    if (!r.address.p || (orcpt && json_string_length(orcpt) && !r.orcpt.p))
        return "the addresses of one message take more than 1 MiB";
    import_rcpts_add(&i->rcpts, &r);
    return i->submit ? ask_suppressed(p, r.address) : NULL;
}

static void recipients(struct peer *p)
{
    const json_t *list = p->task.request.recipients, *row;
    const char *why = NULL;
    size_t at;
    json_array_foreach(list, at, row)
    {
        why = add_recipient(p, row);
        if (why)
            break;
    }
    if (why)
        refuse(p, "refused", why);
    else
        peer_done(p, json_object());
}

/* ---- content ---- */

static const char *fault_text(enum dot_fault f)
{
    switch (f) {
    case DOT_FINE:
        return NULL;
    case DOT_BARE_CR:
        return "the content has a CR without LF: lines end with CR LF";
    case DOT_BARE_LF:
        return "the content has a LF without CR: lines end with CR LF";
    case DOT_LONG_LINE:
        return "the content has a line of more than 998 octets";
    }
    UNREACHABLE();
}

/* Before the first octet leaves for the spool. NULL, or why it is refused. */
static const char *mend(struct peer *p, char why[IMPORT_WHY_SIZE])
{
    struct import *i = p->import;
    char id[QUEUE_ID_SIZE];
    queue_id_write(i->id, id);
    if (!i->submit || i->mended)
        return NULL;
    const bool binary = i->params.body == MAIL_BODY_BINARYMIME; /* as at the front door */
    DEFER(import_mend_done)
    struct import_mend m = {.queue_id = slice_str(id),
                            .hostname = slice_str(p->admin->conf->hostname),
                            .sender = i->sender,
                            .recipient = i->rcpts.n == 1 ? i->rcpts.at[0].address : SLICE_NONE,
                            .now = wall_now(),
                            .keys = binary ? NULL : p->admin->conf->dkim_keys};
    MUST(i->scan.done);
    if (!import_mend(&m, &i->scan, buf_slice(&i->content))) {
        memcpy(why, m.why, IMPORT_WHY_SIZE);
        return why;
    }
    buf_reset(&i->content);
    MUST(buf_add(&i->content, buf_slice(&m.content)));
    i->tags = arena_dup(&i->arena, buf_slice(&m.tags));
    i->sign = m.sign;
    i->sign_at = m.sign_at;
    i->conf = m.sign ? conf_ref(p->admin->conf) : NULL;
    i->params.tls_optional |= m.tls_optional && !i->params.requiretls;
    i->mended = true;
    return NULL;
}

/* Behind the header section it is mended and may be signed; before, import_mend sees to it. */
static void add(struct import *i, struct slice piece)
{
    MUST(buf_add(&i->content, piece));
    if (i->sign)
        dkim_sign_body(i->sign, piece);
}

static void take(struct import *i, struct slice bytes)
{
    i->came += bytes.n;
    while (bytes.n && i->dot.fault == DOT_FINE) {
        struct slice piece;
        bytes = slice_skip(bytes, dot_read(&i->dot, bytes, &piece));
        header_scan_bytes(&i->scan, piece);
        add(i, piece);
    }
}

static void data(struct peer *p)
{
    struct import *i = p->import;
    const json_t *text = p->task.request.data;
    DEFER(buf_done) struct buf bytes = BUF_MAX(REQUEST_LINE_MAX);
    if (!base64_decode(&bytes, slice_of(json_string_value(text), json_string_length(text)))) {
        refuse(p, "refused", "data_base64 is no base 64");
        return;
    }
    if (bytes.n > i->size - i->came) {
        refuse(p, "refused", "the content is longer than its size says");
        return;
    }
    take(i, buf_slice(&bytes));
    const bool full = i->content.n > SPOOL_INLINE_MAX;
    char room[IMPORT_WHY_SIZE];
    const char *why = fault_text(i->dot.fault);
    if (!why && full)
        why = mend(p, room);
    if (why)
        refuse(p, "refused", why);
    else if (full)
        send_body(p, SPOOLER_BODY_WRITE, true);
    else
        peer_done(p, json_object());
}

/* ---- the end ---- */

/* In the place that was kept for them. */
static void sign_inline(struct import *i, struct body *body)
{
    struct buf fields;
    if (!i->sign)
        return;
    end_signing(i, &fields);
    memcpy(body->bytes + i->sign_at, fields.p, fields.n);
    buf_done(&fields);
}

static void send_store(struct peer *p)
{
    struct import *i = p->import;
    struct spooler_store *s = must_alloc(sizeof *s);
    s->msg.type = SPOOLER_STORE;
    s->reply = &p->admin->from_spool;
    s->cookie = p;
    s->id = i->id;
    s->actor = i->actor;
    s->reason = i->reason;
    s->held = i->hold;
    s->dropped = i->dropped;
    s->n_dropped = i->n_dropped;
    if (!i->to_file) {
        i->stored = i->content.n;
        s->body = body_new(i->content.n);
        memcpy(s->body->bytes, i->content.p, i->content.n);
        sign_inline(i, s->body);
    }
    s->envelope =
        (struct envelope){.sender = i->sender,
                          .user = i->user,
                          .listener = i->submit ? SLICE_LIT("sendmail") : SLICE_LIT("import"),
                          .message_id = buf_slice(&i->scan.message_id),
                          .envid = i->envid,
                          .tags = i->tags,
                          .route = i->route,
                          .params = i->params,
                          .release = i->release,
                          .by_deadline = i->by_deadline,
                          .size = i->stored,
                          .eight_bit = i->scan.facts.eight_bit,
                          .dsn_delay = i->delay_told,
                          .expires_s = i->expires_s,
                          .rcpts = i->rcpts.at,
                          .n_rcpts = i->rcpts.n};
    s->asked = loop_now(p->admin->loop);
    s->patience_ms = PATIENCE_MS;
    i->storing = true;
    p->task.asked = true;
    p->admin->outstanding++;
    port_send(spooler_port(p->admin->spooler), &s->msg);
}

/* One thing after the other: the rest of the file, its sync, then the record that names it. */
static void advance(struct peer *p)
{
    struct import *i = p->import;
    if (!i->to_file && i->content.n <= SPOOL_INLINE_MAX)
        send_store(p);
    else
        send_body(p, i->content.n ? SPOOLER_BODY_WRITE : SPOOLER_BODY_FINISH, true);
}

static void end(struct peer *p)
{
    struct import *i = p->import;
    if (i->rcpts.n == 0 || i->came < i->size) {
        refuse(p, "refused",
               i->rcpts.n ? "the content is shorter than its size says" : "there is no recipient");
        return;
    }
    add(i, dot_read_last(&i->dot));
    header_scan_end(&i->scan);
    i->ending = true;
    char room[IMPORT_WHY_SIZE];
    const char *why = fault_text(i->dot.fault);
    if (!why)
        why = mend(p, room);
    if (why)
        refuse(p, "refused", why);
    else
        advance(p);
}

void import_body_answered(struct peer *p, struct spooler_body *b)
{
    const int error = b->error;
    const bool finished = b->step == SPOOLER_BODY_FINISH;
    buf_done(&b->bytes);
    free(b);
    if (error)
        p->import->to_file = false; /* it is gone */
    if (uv_is_closing((uv_handle_t *)&p->pipe))
        return;
    if (error)
        refuse_disk(p, error);
    else if (finished)
        send_store(p);
    else if (p->import->ending)
        advance(p);
    else
        peer_done(p, json_object());
}

void import_store_answered(struct peer *p, struct spooler_store *s)
{
    const int error = s->error;
    char id[QUEUE_ID_SIZE];
    queue_id_write(s->id, id);
    free(s);
    if (error == 0) {
        metric_add(M_MESSAGES_ACCEPTED, 1);
        metric_add(M_RECIPIENTS_ACCEPTED, (int64_t)p->import->rcpts.n);
    }
    if (uv_is_closing((uv_handle_t *)&p->pipe))
        return;
    if (error) {
        refuse_disk(p, error);
        return;
    }
    import_drop(p);
    json_t *done = json_object();
    rows_put(done, "queue_id", json_string(id));
    peer_done(p, done);
}

void import_step(struct peer *p)
{
    const enum verb v = p->task.request.verb;
    if (v == VERB_IMPORT_BEGIN)
        begin(p);
    else if (!p->import)
        peer_error(p, "usage", "no message is being imported: import.begin comes first");
    else if (v == VERB_IMPORT_RECIPIENTS)
        recipients(p);
    else if (v == VERB_IMPORT_DATA)
        data(p);
    else
        end(p);
}
