/*
 * What MAIL and RCPT asked for as keys of JSON: in the envelope of an export, in import.begin, in
 * the answer of queue.show. Pure. The words are those of SMTP.
 */
#pragma once
#include "relay/spooler/spooler.h"
#include <jansson.h>

/* More, or longer ones, are refused; the front door is no more generous. */
enum { ASKED_TAGS_MAX = 16, ASKED_TAG_MAX = 256, ASKED_ROUTE_MAX = 200 };

struct asked {
    struct mail_params params;
    struct wall release, by_deadline; /* 0 = none */
    struct buf tags;                  /* as in struct envelope */
    struct buf route;
};
void asked_done(struct asked *a);
/* Only what was asked for: body, ret, by, by_trace, deadline, release, smtputf8, requiretls,
 * tls_optional, priority, tags, route. */
void asked_put(json_t *object, const struct asked *a);
/* NULL, or what is wrong with it as a whole. */
const char *asked_wrong(const struct asked *a);

/* Each of the kind that request.c reads arguments with. `at`: of the member. */
bool asked_read_body(const json_t *v, void *at);
bool asked_read_ret(const json_t *v, void *at);
bool asked_read_by(const json_t *v, void *at);
bool asked_read_priority(const json_t *v, void *at);
bool asked_read_time(const json_t *v, void *at);
bool asked_read_tags(const json_t *v, void *at); /* an object of texts */

/* "NEVER", "SUCCESS,DELAY" (RFC 3461 section 4.1). */
void asked_notify_write(struct buf *out, unsigned notify);
bool asked_notify_read(struct slice s, unsigned *ret);
