#include "relay/inbound/signing.h"
#include "relay/base/metrics.h"
#include "relay/inbound/private.h"
#include "relay/mail/dkim.h"

void signing_begin(struct session *s, struct slice section, struct wall now, struct buf *head)
{
    struct intake *t = &s->intake;
    /* What is no lines is made into lines for most of its receivers, which no signature outlives.
     */
    if (s->txn.params.body == MAIL_BODY_BINARYMIME)
        return;
    t->sign = dkim_sign_new(t->keys->dkim_keys, section, now);
    t->sign_at = head->n;
    if (t->sign)
        dkim_sign_reserve(t->sign, head);
}

void signing_body(struct session *s, struct slice piece)
{
    if (s->intake.sign)
        dkim_sign_body(s->intake.sign, piece);
}

bool signing_end(struct session *s, struct buf *ret_fields, size_t *ret_at)
{
    struct intake *t = &s->intake;
    if (!t->sign)
        return false;
    buf_init(ret_fields, DKIM_FIELDS_MAX);
    dkim_sign_end(t->sign, ret_fields);
    *ret_at = t->sign_at;
    dkim_sign_free(t->sign);
    t->sign = NULL;
    metric_add(M_MESSAGES_SIGNED, 1);
    return true;
}
