/* What the files of this room know of each other: the connection and what the loop's connections
 * share. */
#pragma once
#include "relay/net/net.h"
#include "relay/tls/fifo.h"

enum net_phase {
    NET_CONNECTING,
    NET_PROXY, /* accepted from a balancer: the header that says who it is has not come whole */
    NET_CLEAR,
    NET_HANDSHAKE,
    NET_SECURE,
    NET_DEAD /* neither connection nor handshake came about: nothing is sent or read but TLS's alert
              */
};

enum net_closing {
    NET_OPEN,
    NET_FLUSHING,  /* the handler is done with it; what is queued leaves */
    NET_LINGERING, /* all has left; reads on, so that no reset overtakes the last words */
    NET_CLOSED     /* its handles are closing, on_closed follows */
};

/* One a loop. */
struct net_local {
    struct loop_part part;
    struct loop *loop;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_idle_t not_idle; /* active while connections wait to be flushed: the loop must not sleep */
    struct net_conn *conns;
    struct net_conn *dirty; /* to be flushed at the end of this turn */
    unsigned dirty_count;
    bool ended;
    struct net_listener *listeners;
    struct net_traces *traces; /* NULL: this loop has none */
    int callers_fd_end;        /* callers get descriptors below, as of limit_look_at */
    struct mono limit_look_at;
    struct buf plain;                /* lent to the connection that is decrypting */
    uint8_t received[NET_INPUT_MAX]; /* every read lands here: an idle connection keeps no input
                                        memory */
};

struct net_conn {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct deadline deadline; /* the nearer of the two moments */
    struct mono handler_at, own_at;
    struct loop *loop;
    struct net_local *local;
    const struct net_handler *h;
    void *ctx;
    struct net_conn *prev, *next; /* all of the loop */
    struct net_conn *prev_dirty, *next_dirty;
    struct net_listener *from; /* NET_PROXY only: where it came in */
    enum net_phase phase;
    enum net_closing closing;
    bool dirty;
    bool reading;
    bool offering; /* within on_bytes */
    bool again;    /* net_conn_resume was called there */
    bool eof;      /* the peer sends no more */
    bool eof_told;
    bool failure_told; /* after eof_told, perhaps: writing broke when reading had ended in peace */
    bool owes_sent;    /* something was sent since on_sent */
    bool notified;     /* close_notify is out */
    int broken;        /* negative errno: writing failed */
    int connect_error; /* known before on_connected may be called */
    unsigned writes;   /* requests that libuv has */
    unsigned handles;  /* still closing */
    struct tls_engine *tls;
    struct net_tap *tap; /* NULL: nobody looks on */
    size_t tapped;       /* octets of the unconsumed input that were told already */
    bool caller;         /* we have connected: what is sent is the client's */
    struct buf in;       /* plaintext not taken; reading pauses while there is any */
    struct fifo out;     /* plaintext to send */
    struct net_names names;
};

/* local.c */
struct net_local *net_local_of(struct loop *l);
void net_mark_dirty(struct net_conn *c);
void net_unmark_dirty(struct net_conn *c);

/* conn.c */
struct net_conn *net_conn_new(struct loop *l);
void net_conn_finish(
    struct net_conn *c); /* closes the handles now; on_closed comes from the loop */
void net_conn_own_deadline(struct net_conn *c, struct mono at);
/* A connection made of an accepted socket, which nobody reads yet; then its life begins. */
struct net_conn *net_conn_opened(struct loop *l, int fd, const struct sockaddr *peer);
void net_conn_begin(struct net_conn *c, const struct net_acceptor *a);
void net_conn_name(struct net_conn *c, const struct sockaddr *peer, const struct sockaddr *local);
static inline bool net_conn_is_open(const struct net_conn *c)
{
    return c->closing == NET_OPEN;
}

/* tap.c */
void net_tap_in(struct net_conn *c, struct slice offered); /* what was not told yet */
void net_tap_out(struct net_conn *c, struct slice sent);
void net_tap_tls(struct net_conn *c); /* begins */
void net_tap_free(struct net_conn *c);
/* A connection's life has begun: a tracer may look. */
void net_tap_begin(struct net_conn *c);
/* A tracer has come to a connection that has begun: from the next moment between two commands on.
 */
void net_tap_join(struct net_conn *c);
/* No tracer looks any more: it costs nothing again. */
void net_tap_leave(struct net_conn *c);
void net_tap_note(struct net_conn *c, const char *text);
void net_tap_secure(struct net_conn *c); /* the handshake is done */
struct net_traced *net_tap_traced(const struct net_conn *c);

/* trace.c */
struct net_traced;
struct net_traced *net_traced_new(struct net_conn *c); /* NULL: nobody traces */
void net_traced_free(struct net_conn *c, struct net_traced *d);
void net_traced_line(struct net_conn *c, struct net_traced *d, const struct watch_line *l);
void net_traced_note(struct net_conn *c, struct net_traced *d, const char *text);
void net_traced_label(struct net_traced *d, const struct net_label *l);

/* input.c */
void net_read_start(struct net_conn *c);
void net_read_stop(struct net_conn *c);
void net_tell_eof(struct net_conn *c, int err);
void net_handshake_failed(struct net_conn *c, const char *why);

/* behind.c */
void net_proxy_wait(struct net_listener *n, struct loop *l, int fd, const struct sockaddr *peer);
/* Returns what stands behind the header, once it is there: the client's. */
struct slice net_proxy_bytes(struct net_conn *c, struct slice s);
void net_proxy_ended(struct net_conn *c); /* no more will come */
void net_proxy_late(struct net_conn *c);

/* output.c */
void net_flush(struct net_conn *c);
void net_push_out(
    struct net_conn *c); /* what is queued in clear goes to libuv as it is, before anything else */

/* listener.c */
void net_listener_finish(struct net_listener *n);
const struct net_acceptor *net_listener_acceptor(const struct net_listener *n);
struct net_listener *net_listener_next(const struct net_listener *n);
