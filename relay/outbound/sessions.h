/*
 * TLS sessions that receivers gave to this loop's connections, to be resumed by the next ones.
 * Pure: time is passed in.
 *
 * By key: what must be the same for a session to be offered (resume.c writes it). A session of TLS
 * 1.3 is handed out once (RFC 8446 appendix C.4), one of 1.2 as often as somebody asks. It is good
 * for as long as its peer says, and not beyond most_ms after the full handshake that it stems from,
 * however often it was renewed: so long nobody has looked at the certificate's chain.
 * Bounds: OUT_SESSIONS_MAX in all, OUT_SESSIONS_PER_KEY of a key; the oldest of a key goes first,
 * and the keys that were not asked for longest.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/slice.h"
#include "relay/tls/tls.h"

#define OUT_SESSIONS_MAX 1000
#define OUT_SESSIONS_PER_KEY 8 /* as many connections at once can resume one each */

struct out_sessions;
struct out_session {
    struct tls_session *tls; /* NULL: none */
    struct mono full;        /* when the handshake was that it stems from */
};

struct out_sessions *out_sessions_new(int64_t most_ms);
void out_sessions_free(struct out_sessions *c); /* NULL is fine */
/* Takes s.tls (NULL is fine). */
void out_sessions_put(struct out_sessions *c, struct slice key, struct out_session s,
                      struct mono now);
/* The newest; its reference is the caller's. */
struct out_session out_sessions_get(struct out_sessions *c, struct slice key, struct mono now);
/* All of this key. */
void out_sessions_forget(struct out_sessions *c, struct slice key);
void out_sessions_forget_all(struct out_sessions *c);
size_t out_sessions_count(const struct out_sessions *c);
