/* A message to the daemon through the control socket: import.begin with submit, recipients,
 * content, import.end, whose answer is that it is durable. */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/sendmail.h"

enum { RCPTS_STEP = 100, PIECE_BYTES = 192 * 1024 };

struct hand {
    struct client *client;
    const struct sendmail_args *a;
    const struct sendmail_mail *m;
};

/* `refused`: the exit code when it is the message's own fault. */
static int step(struct hand *h, const char *verb, json_t *args, int refused, json_t **ret_done)
{
    json_t *error = NULL;
    MUST(args);
    if (client_send(h->client, verb, args) != CLI_DONE ||
        client_hear(h->client, NULL, NULL, ret_done, &error) != CLI_DONE)
        return EX_TEMPFAIL; /* told */
    int rc = EX_OK;
    if (error) {
        const char *code = json_text(error, "code");
        const bool not_now = strcmp(code, "unavailable") == 0;
        rc = not_now ? EX_TEMPFAIL : strcmp(code, "refused") == 0 ? refused : EX_SOFTWARE;
        sendmail_fail(rc, "%s%s", json_text(error, "message"),
                      not_now ? "; the mail was not taken, send it again later" : "");
    }
    json_decref(error);
    return rc;
}

static int begin(struct hand *h)
{
    const struct buf *sender = &h->m->sender;
    json_t *args = json_pack("{s:s%, s:I, s:b}", "sender", sender->p ? (const char *)sender->p : "",
                             sender->n, "size", (json_int_t)h->m->content.n, "submit", 1);
    MUST(args);
    if (h->a->envid)
        json_object_set_new(args, "envid", json_string(h->a->envid));
    if (h->a->ret)
        json_object_set_new(args, "ret", json_string(h->a->ret == MAIL_RET_FULL ? "FULL" : "HDRS"));
    if (h->a->body == MAIL_BODY_8BITMIME)
        json_object_set_new(args, "body", json_string("8BITMIME"));
    if (h->m->utf8)
        json_object_set_new(args, "smtputf8", json_true());
    return step(h, "import.begin", args, EX_DATAERR, NULL);
}

static void notify_text(struct buf *out, unsigned notify)
{
    static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    for (unsigned i = 0; i < 4; i++)
        if (notify & (1U << i))
            buf_addf(out, "%s%s", out->n ? "," : "", words[i]);
}

static int recipients(struct hand *h)
{
    DEFER(buf_done) struct buf notify = BUF_MAX(64);
    notify_text(&notify, h->a->notify);
    int rc = EX_OK;
    for (size_t i = 0; i < h->m->n_rcpts && rc == EX_OK;) {
        json_t *some = json_array();
        for (size_t n = 0; n < RCPTS_STEP && i < h->m->n_rcpts; n++, i++) {
            const struct slice r = h->m->rcpts[i];
            json_t *one = json_pack("{s:s%}", "recipient", (const char *)r.p, r.n);
            MUST(one);
            if (h->a->notify)
                json_object_set_new(one, "notify", json_string(buf_str(&notify)));
            json_array_append_new(some, one);
        }
        rc = step(h, "import.recipients", json_pack("{s:o}", "recipients", some), EX_NOUSER, NULL);
    }
    return rc;
}

static int content(struct hand *h)
{
    struct slice rest = buf_slice(&h->m->content);
    int rc = EX_OK;
    while (rest.n && rc == EX_OK) {
        DEFER(buf_done) struct buf text = BUF_MAX(PIECE_BYTES / 3 * 4 + 4);
        MUST(base64_encode(&text, slice_head(rest, PIECE_BYTES)));
        rest = slice_skip(rest, PIECE_BYTES);
        rc =
            step(h, "import.data", json_pack("{s:s%}", "data_base64", (const char *)text.p, text.n),
                 EX_DATAERR, NULL);
    }
    return rc;
}

static int hand_over(struct hand *h, char ret_id[32])
{
    json_t *done = NULL;
    int rc = begin(h);
    if (rc == EX_OK)
        rc = recipients(h);
    if (rc == EX_OK)
        rc = content(h);
    if (rc == EX_OK)
        rc = step(h, "import.end", json_object(), EX_DATAERR, &done);
    if (rc == EX_OK)
        snprintf(ret_id, 32, "%s", json_text(done, "queue_id"));
    json_decref(done);
    return rc;
}

int sendmail_by_socket(struct conf *conf, const struct sendmail_args *a,
                       const struct sendmail_mail *m, char ret_id[32])
{
    int rc;
    struct hand h = {.client = client_try(conf, &rc), .a = a, .m = m};
    if (!h.client && rc == CLI_DENIED)
        return EX_NOPERM;
    if (!h.client)
        return sendmail_fail(EX_TEMPFAIL,
                             "%s: the relay is not running; the mail was not taken, send it again "
                             "when it is (postwain serve)",
                             conf->control_socket);
    rc = hand_over(&h, ret_id);
    client_free(h.client);
    return rc;
}
