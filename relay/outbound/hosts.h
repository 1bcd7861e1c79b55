/*
 * What is known of the hosts that destinations hand their mail to (`relay`): which of them did not
 * answer, or refused our login, and when it is asked again. One for all loops, behind a lock: one
 * loop's failure spares the others theirs, a wrong password is tried once and not once a
 * connection (providers lock accounts for less), and mail goes to the next provider until the first
 * one works again.
 *
 *   failed ──▶ AVOIDED (the others first), refused our login ──▶ BARRED (not at all), until its
 * time; then one connection asks it again. Works: forgotten. Fails: twice as long.
 *
 * At a host where nobody has logged in yet (since the start, a reload, or a refusal) one connection
 * does it, and the others wait for what comes of it.
 *
 * Pauses: avoided 5 s … 5 min, barred 1 min … 30 min. Time is passed in. What is known counts for
 * the configuration under which it was found: a reload begins anew, and what is still under way by
 * the old one has an account of its own, until the reload after. Bounds: an entry for each host of
 * a `relay` list that fails or is logged in at.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/slice.h"
#include "relay/base/verdict.h"

enum out_host_state { OUT_HOST_FINE, OUT_HOST_AVOIDED, OUT_HOST_BARRED };

struct out_hosts;
struct out_hosts *out_hosts_new(void);
void out_hosts_free(struct out_hosts *h);
/* From now on the configuration with this serial is the one in force. */
void out_hosts_reload(struct out_hosts *h, uint64_t conf);

/* Borrowed for the call. */
struct out_host {
    uint64_t conf;                  /* serial of the configuration that names it */
    const char *destination, *host; /* host: "name:port" */
};

/* One whose time has come is FINE for who asks first, and what it was for the others until then. */
enum out_host_state out_hosts_look(struct out_hosts *h, const struct out_host *at, struct mono now);
/* How long it is barred yet; 0: it is not. Changes nothing. */
int64_t out_hosts_barred_ms(struct out_hosts *h, const struct out_host *at, struct mono now);
/* The same as look without having the turn for it: nothing changes. again_ms: from now; why: the
 * caller frees it; both only of one that is not FINE. */
enum out_host_state out_hosts_peek(struct out_hosts *h, const struct out_host *at, struct mono now,
                                   int64_t *ret_again_ms, char **ret_why);
/* Returns true when this is news: it was fine before, or is barred now. */
bool out_hosts_failed(struct out_hosts *h, const struct out_host *at, const struct verdict *v,
                      struct mono now);
/* What it was before. */
enum out_host_state out_hosts_works(struct out_hosts *h, const struct out_host *at);

enum out_login_turn { OUT_LOGIN_GO, OUT_LOGIN_WAIT, OUT_LOGIN_NO };
/* GO: the asker logs in, and tells failed or works within LOGIN_MS, else another one goes. NO: it
 * is barred. */
enum out_login_turn out_hosts_login(struct out_hosts *h, const struct out_host *at,
                                    struct mono now);

struct out_host_view { /* lent for the call */
    const char *destination, *host, *why;
    enum out_host_state state;
    int64_t again_ms; /* from now */
};
/* Those of the configuration in force that have trouble. */
void out_hosts_each(struct out_hosts *h, struct mono now,
                    void (*each)(void *ctx, const struct out_host_view *v), void *ctx);
/* The words of a host's last failure: the caller frees them; NULL: it has none. */
char *out_hosts_why(struct out_hosts *h, const struct out_host *at);
