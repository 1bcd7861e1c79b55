/*
 * One POST of a batch of lines, signed: libcurl does HTTP, TLS with the system's authorities,
 * proxies and time limits. Redirects are not followed: a webhook that has moved is a change that a
 * person makes.
 */
#pragma once
#include "relay/base/err.h"
#include "relay/base/slice.h"
#include <signal.h>

struct poster_conf {
    const char *url;
    struct slice secret;               /* of the signature; "" = none */
    const char *ca_file;               /* NULL: the system's authorities */
    int64_t timeout_ms;                /* of one POST, all together */
    bool in_clear;                     /* http to hosts other than this one is permitted */
    const volatile sig_atomic_t *stop; /* set: a POST under way is given up */
};

struct poster;
/* Borrows the texts of c. -EINVAL: the URL is not to be used, and why. */
int poster_new(struct poster **ret, const struct poster_conf *c, struct err *e);
void poster_free(struct poster *p);
/* Returns the status of the answer (200 …), or 0 when there was none, with e. batch: names it, the
 * same when it is sent again. *ret_wait_s: what Retry-After asks for, 0: nothing. */
int poster_send(struct poster *p, struct slice body, const char *batch, int64_t *ret_wait_s,
                struct err *e);

/* "t=SECONDS,v1=HEX", HEX being HMAC-SHA256 of "SECONDS.BODY" (pure). */
#define POSTER_SIGNATURE_SIZE 96
void poster_sign(char ret[POSTER_SIGNATURE_SIZE], struct slice secret, int64_t at_s,
                 struct slice body);
