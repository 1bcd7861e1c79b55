#include "relay/outbound/hosts.h"
#include "relay/base/must.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <uv.h>

static const struct {
    int64_t first_ms, last_ms;
} pauses[] = {
    [OUT_HOST_AVOIDED] = {5000, 300000},
    [OUT_HOST_BARRED] = {60000, 1800000},
};

#define LOGIN_MS 60000

struct entry {
    char *key; /* SERIAL LF DESTINATION LF HOST */
    uint64_t conf;
    char *destination, *host, *why;
    enum out_host_state state;
    struct mono until;
    int64_t pause_ms;
    bool claimed;        /* barred, and its time has come: one login is free */
    bool proved;         /* somebody is logged in */
    struct mono logging; /* until then somebody is busy with it */
    UT_hash_handle hh;
};

struct out_hosts {
    uv_mutex_t lock;
    struct entry *entries;
    uint64_t conf, before; /* serials: of the configuration in force, and of the one before */
};

struct out_hosts *out_hosts_new(void)
{
    struct out_hosts *h = must_alloc(sizeof *h);
    MUST(uv_mutex_init(&h->lock) == 0);
    return h;
}

static void entry_free(struct out_hosts *h, struct entry *e)
{
    HASH_DEL(h->entries, e);
    free(e->key);
    free(e->destination);
    free(e->host);
    free(e->why);
    free(e);
}

static void forget_before(struct out_hosts *h, uint64_t conf)
{
    struct entry *e, *next;
    HASH_ITER (hh, h->entries, e, next)
        if (e->conf < conf)
            entry_free(h, e);
}

void out_hosts_reload(struct out_hosts *h, uint64_t conf)
{
    uv_mutex_lock(&h->lock);
    h->before = h->conf;
    h->conf = conf;
    forget_before(h, h->before);
    uv_mutex_unlock(&h->lock);
}

void out_hosts_free(struct out_hosts *h)
{
    if (!h)
        return;
    forget_before(h, UINT64_MAX);
    uv_mutex_destroy(&h->lock);
    free(h);
}

static char *key_of(const struct out_host *at)
{
    size_t n = strlen(at->destination) + strlen(at->host) + 24;
    char *key = must_alloc(n);
    snprintf(key, n, "%" PRIu64 "\n%s\n%s", at->conf, at->destination, at->host);
    return key;
}

static struct entry *find(struct out_hosts *h, const struct out_host *at)
{
    char *key = key_of(at);
    struct entry *e = NULL;
    HASH_FIND_STR(h->entries, key, e);
    free(key);
    return e;
}

enum out_host_state out_hosts_look(struct out_hosts *h, const struct out_host *at, struct mono now)
{
    enum out_host_state state = OUT_HOST_FINE;
    uv_mutex_lock(&h->lock);
    struct entry *e = find(h, at);
    if (e && e->state != OUT_HOST_FINE && mono_reached(e->until, now)) {
        e->until = mono_add(now, e->pause_ms); /* the others wait for what the asker finds */
        e->claimed = true;
    } else if (e)
        state = e->state;
    uv_mutex_unlock(&h->lock);
    return state;
}

enum out_host_state out_hosts_peek(struct out_hosts *h, const struct out_host *at, struct mono now,
                                   int64_t *ret_again_ms, char **ret_why)
{
    enum out_host_state state = OUT_HOST_FINE;
    uv_mutex_lock(&h->lock);
    const struct entry *e = find(h, at);
    if (e && e->state != OUT_HOST_FINE) {
        state = e->state;
        *ret_again_ms = e->until.ms > now.ms ? e->until.ms - now.ms : 0;
        *ret_why = slice_dup(slice_str(e->why));
    }
    uv_mutex_unlock(&h->lock);
    return state;
}

int64_t out_hosts_barred_ms(struct out_hosts *h, const struct out_host *at, struct mono now)
{
    uv_mutex_lock(&h->lock);
    const struct entry *e = find(h, at);
    int64_t left = e && e->state == OUT_HOST_BARRED ? e->until.ms - now.ms : 0;
    uv_mutex_unlock(&h->lock);
    return left > 0 ? left : 0;
}

static struct entry *entry_of(struct out_hosts *h, const struct out_host *at)
{
    struct entry *e = find(h, at);
    if (e)
        return e;
    e = must_alloc(sizeof *e);
    e->key = key_of(at);
    e->conf = at->conf;
    e->destination = slice_dup(slice_str(at->destination));
    e->host = slice_dup(slice_str(at->host));
    HASH_ADD_KEYPTR(hh, h->entries, e->key, strlen(e->key), e);
    return e;
}

static char *words_of(const struct verdict *v)
{
    char text[400];
    if (v->code)
        snprintf(text, sizeof text, "%u %.300s", v->code, v->text ? v->text : "");
    else
        snprintf(text, sizeof text, "%.300s", v->text ? v->text : "");
    return slice_dup(slice_trim(slice_str(text)));
}

bool out_hosts_failed(struct out_hosts *h, const struct out_host *at, const struct verdict *v,
                      struct mono now)
{
    enum out_host_state state = v->phase == PHASE_AUTH ? OUT_HOST_BARRED : OUT_HOST_AVOIDED;
    uv_mutex_lock(&h->lock);
    struct entry *e = entry_of(h, at);
    bool news = e->state != state;
    int64_t pause = news ? pauses[state].first_ms : 2 * e->pause_ms;
    e->state = state;
    e->pause_ms = pause < pauses[state].last_ms ? pause : pauses[state].last_ms;
    e->until = mono_add(now, e->pause_ms);
    e->logging = (struct mono){0};
    e->claimed = false;
    e->proved = e->proved && state != OUT_HOST_BARRED;
    free(e->why);
    e->why = words_of(v);
    uv_mutex_unlock(&h->lock);
    return news;
}

enum out_host_state out_hosts_works(struct out_hosts *h, const struct out_host *at)
{
    enum out_host_state was = OUT_HOST_FINE;
    uv_mutex_lock(&h->lock);
    struct entry *e = h->entries ? find(h, at) : NULL;
    if (e) {
        was = e->state;
        e->state = OUT_HOST_FINE;
        e->proved = true;
    }
    uv_mutex_unlock(&h->lock);
    return was;
}

static enum out_login_turn turn_of(struct entry *e, struct mono now)
{
    if (e->state == OUT_HOST_BARRED) {
        bool go = e->claimed;
        e->claimed = false;
        return go ? OUT_LOGIN_GO : OUT_LOGIN_NO;
    }
    if (!e->proved && !mono_reached(e->logging, now))
        return OUT_LOGIN_WAIT;
    e->logging = mono_add(now, LOGIN_MS);
    return OUT_LOGIN_GO;
}

enum out_login_turn out_hosts_login(struct out_hosts *h, const struct out_host *at, struct mono now)
{
    uv_mutex_lock(&h->lock);
    enum out_login_turn turn = turn_of(entry_of(h, at), now);
    uv_mutex_unlock(&h->lock);
    return turn;
}

void out_hosts_each(struct out_hosts *h, struct mono now,
                    void (*each)(void *ctx, const struct out_host_view *v), void *ctx)
{
    struct entry *e, *next;
    uv_mutex_lock(&h->lock);
    HASH_ITER (hh, h->entries, e, next) {
        int64_t left = e->until.ms - now.ms;
        if (e->state == OUT_HOST_FINE || e->conf != h->conf)
            continue;
        const struct out_host_view view = {e->destination, e->host, e->why, e->state,
                                           left > 0 ? left : 0};
        each(ctx, &view);
    }
    uv_mutex_unlock(&h->lock);
}

char *out_hosts_why(struct out_hosts *h, const struct out_host *at)
{
    uv_mutex_lock(&h->lock);
    struct entry *e = find(h, at);
    char *why = e ? slice_dup(slice_str(e->why)) : NULL;
    uv_mutex_unlock(&h->lock);
    return why;
}
