#include "relay/inbound/suppressed.h"
#include "relay/base/metrics.h"
#include "relay/inbound/private.h"

const struct smtp_reply *suppressed_rcpt(struct session *s, struct slice address,
                                         struct slice *ret_drop)
{
    struct suppressed *u = &s->suppressed;
    struct suppress_found f;
    *ret_drop = SLICE_NONE;
    if (!suppress_find(s->in->shared->suppress, slice_str(s->auth.user), address, &f))
        return NULL;
    metric_add(M_SUPPRESSED, 1);
    suppress_words(&f, u->text);
    const struct slice why = slice_str(u->text);
    if (s->conf->suppression_action == CONF_SUPPRESS_DROP) {
        *ret_drop = why;
        return NULL;
    }
    u->reply = (struct smtp_reply){550, {5, 1, 1}, why};
    return &u->reply;
}
