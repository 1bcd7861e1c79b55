/* The delivery log between the configuration and the spooler, neither of which it knows. */
#include "relay/base/must.h"
#include "relay/house.h"

/* ---- what the configuration says of the log ---- */

static const enum events_recipients recipients_of[] = {
    [CONF_RECIPIENTS_FULL] = EVENTS_FULL,
    [CONF_RECIPIENTS_HASHED] = EVENTS_HASHED,
    [CONF_RECIPIENTS_DOMAIN] = EVENTS_DOMAIN,
};

int house_log_conf(const struct conf *c, struct events_conf *ret, struct err *e)
{
    *ret = (struct events_conf){
        .path = c->log_deliveries,
        .node = c->hostname,
        .rotate_bytes = c->log_rotate_size,
        .rotate_s = c->log_rotate_age_s,
        .compress_s = c->log_compress_after_s,
        .keep_s = c->log_keep_s,
        .keep_bytes = c->log_keep_size,
        .min_free = c->log_min_free,
        .memory = c->debug_log_memory,
        .to_stdout = c->log_stdout,
        .recipients = recipients_of[c->log_recipients],
    };
    return c->log_recipients == CONF_RECIPIENTS_HASHED
               ? conf_hash_key(c, ret->key, sizeof ret->key, &ret->key_n, e)
               : 0;
}

/* ---- what the log and the spool tell each other ---- */

static void on_kept(void *ctx, uint64_t seq)
{
    struct house *h = ctx;
    struct spooler_kept *k = must_alloc(sizeof *k);
    k->msg.type = SPOOLER_KEPT;
    k->seq = seq;
    port_send(spooler_port(h->spooler), &k->msg);
}

static void on_again_event(void *ctx, const struct event *e)
{
    struct house *h = ctx;
    events_again(h->events, e);
}

static void on_again_end(void *ctx, uint64_t through)
{
    struct house *h = ctx;
    events_again_end(h->events, through);
}

static void on_again(void *ctx, uint64_t after, uint64_t upto)
{
    struct house *h = ctx;
    struct spooler_again *q = must_alloc(sizeof *q);
    *q = (struct spooler_again){.msg.type = SPOOLER_AGAIN,
                                .after = after,
                                .upto = upto,
                                .ctx = h,
                                .each = on_again_event,
                                .end = on_again_end};
    port_send(spooler_port(h->spooler), &q->msg);
}

static void on_room(void *ctx, bool full)
{
    struct house *h = ctx;
    spooler_log_full(h->spooler, full);
}

void house_log_join(struct house *h)
{
    events_set_spool(h->events, &(struct events_spool){
                                    .ctx = h, .kept = on_kept, .again = on_again, .room = on_room});
}

void house_log_part(struct house *h)
{
    if (h->events)
        events_set_spool(h->events, NULL);
}
