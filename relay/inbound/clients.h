/*
 * What is known of each client address: connections now and lately, failed logins, bans. A client
 * is an IPv4 address or an IPv6 /64 (IPv4-mapped counts as IPv4): who has one address of a /64 has
 * all of them. Shared by the loops and the admin thread behind its own lock; time is handed in, and
 * every call but clients_page is O(1). It lives with the process: a reload changes nothing, a
 * restart forgets.
 *
 * Bounds: one entry (about 200 bytes) for each client with an open connection, and CLIENTS_IDLE_MAX
 * more. When those are full the least interesting goes: who only connected, then who failed, then
 * who is banned; of equals the one that was not heard of for longest.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/slice.h"
#include "relay/inbound/guesses.h"
#include <sys/socket.h>

#define CLIENTS_IDLE_MAX 65536
#define CLIENTS_REASON_MAX 100
#define CLIENTS_FORGET_MS (INT64_C(60) * 60 * 1000) /* a failed login counts for so long */

struct clients_key {
    uint8_t v6;
    uint8_t bytes[8]; /* the /64, or the IPv4 address and zeros */
};
/* False: neither IPv4 nor IPv6. */
bool clients_key_of(const struct sockaddr *a, struct clients_key *ret);
/* "192.0.2.1", "2001:db8::1", "2001:db8::/64": what names one client; false: anything else. */
bool clients_key_parse(struct slice text, struct clients_key *ret);
#define CLIENTS_KEY_SIZE 48
/* "192.0.2.1", "2001:db8::/64" */
void clients_key_text(const struct clients_key *k, char ret_text[CLIENTS_KEY_SIZE]);

struct clients;
struct client; /* valid between clients_enter and clients_leave */
struct clients *clients_new(void);
void clients_free(struct clients *c);

/* 0 = no limit. A rate is so many in `rate_ms`, which may come at once. */
struct clients_limits {
    unsigned per_client, per_listener;
    unsigned rate;
    int64_t rate_ms;
    bool exempt; /* neither rate nor ban holds for it */
};
enum clients_answer {
    CLIENTS_IN,
    CLIENTS_BANNED,
    CLIENTS_TOO_FAST, /* the rate */
    CLIENTS_TOO_MANY, /* its connections */
    CLIENTS_FULL      /* the listener's */
};
struct clients_refusal {
    int64_t left_ms;                     /* BANNED: until it ends */
    char reason[CLIENTS_REASON_MAX + 1]; /* BANNED */
    bool say; /* worth a line in the log: the client's first one in a minute */
};
/* One more connection: CLIENTS_IN and *ret, which clients_leave wants back, or *ret_refusal. */
enum clients_answer clients_enter(struct clients *c, const struct clients_key *key, size_t listener,
                                  const struct clients_limits *limits, struct mono now,
                                  struct client **ret, struct clients_refusal *ret_refusal);
void clients_leave(struct clients *c, struct client *one, size_t listener, struct mono now);
unsigned clients_total(struct clients *c);

/* ---- logins; the client may be gone by the time one is judged ---- */

struct clients_rules {
    unsigned failures; /* not forgiven, then the ban; 0: never */
    int64_t ban_ms;
    bool exempt; /* no ban holds for it; it waits like everyone */
};
struct clients_failure {
    unsigned failures; /* not forgiven, this one included */
    int64_t delay_ms;  /* before it is told: 0, 1, 2, 4, 8, 8, … seconds */
    bool banned;       /* by this one */
    bool late;         /* it was banned already; not counted */
};
/* A login failed, of whatever session. */
struct clients_failure clients_auth_failed(struct clients *c, const struct clients_key *key,
                                           const struct clients_rules *rules, struct guess guess,
                                           struct mono now);
/* This very one was wrong lately, and need not be looked at again. */
bool clients_has_failed(struct clients *c, const struct clients_key *key, uint64_t credential);
/* One was right: what failed under this name before is forgiven. */
void clients_auth_ok(struct clients *c, const struct clients_key *key, uint64_t name);
bool clients_is_banned(struct clients *c, const struct clients_key *key, struct mono now);

/* ---- operators ---- */

/* In place of a ban that is there. `reason` is cut at CLIENTS_REASON_MAX; printable. */
void clients_ban(struct clients *c, const struct clients_key *key, int64_t ms, struct slice reason,
                 struct mono now);
/* Lifts a ban and forgives failures; false: there was neither. */
bool clients_allow(struct clients *c, const struct clients_key *key, struct mono now);

struct clients_row {
    struct clients_key key;
    unsigned open;
    unsigned lately;   /* connections of the last minute, refused ones too */
    unsigned failures; /* not forgiven */
    int64_t banned_ms; /* left; 0: not banned */
    char reason[CLIENTS_REASON_MAX + 1];
};
/* Clients that are connected, have failed or are banned: at most `max` of those at *at (0: the
 * beginning) and behind it, which is moved on. False: that was all. One call looks at 1,000 places;
 * a client that is there throughout comes exactly once. */
bool clients_page(struct clients *c, size_t *at, struct clients_row *ret_rows, size_t max,
                  size_t *ret_n, struct mono now);
