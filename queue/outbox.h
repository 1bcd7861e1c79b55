/*
 * What a record has for the delivery log (its outbox), as the log gets it. The `accepted` events of
 * new mail say what the MESSAGE record's envelope says, so they are not stored: one entry,
 * EVENT_ACCEPTED_ALL, stands for those of all recipients, and their fields are made here from the
 * record's own bytes. Used when the batch has become durable and again after a crash, so that a
 * line written twice is the same octet for octet. Pure; memory for one event at a time.
 */
#pragma once
#include "queue/record.h"

/* Calls each (which may be NULL) with the events in order; `fields` is borrowed until it returns.
 * How many there are, or -1 when they, or the envelope that they need, are damaged: those before
 * the damage have been seen. head: of a record of this type. */
int64_t outbox_read(enum record_type type, struct slice head,
                    void (*each)(void *ctx, const struct event *e), void *ctx);

/* The fields of one `accepted`. `more`: encoded fields that the envelope does not have, at the end.
 */
void outbox_accepted(struct buf *out, const struct message_record *r, const struct envelope *e,
                     size_t rcpt, struct slice more);
/* Those with which the events of a recipient begin; of e only sender, user, message_id, envid. */
void outbox_who(struct buf *out, uint64_t id, const struct envelope *e, size_t rcpt,
                struct slice address, struct slice orcpt);
