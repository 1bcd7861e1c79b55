/* The inside of a connection, shared by conn.c (its life), dial.c (addresses), talk.c (socket,
 * dialogue), job.c (what it carries), recipients.c, content.c and policy.c. Nobody else includes
 * this. */
#pragma once
#include "relay/outbound/private.h"

#define OUT_TRIES_MAX 5

/* One socket of a connection; outlives it until the socket is closed. */
struct link {
    struct out_conn *conn; /* NULL: given up */
    struct net_conn *net;
    size_t way; /* of conn->ways */
    struct out_source source;
    struct mono since;        /* when it was dialled */
    struct outbound *counted; /* among whose sockets; NULL: not (any more) */
};

/* An address: plan->hosts[host].addrs[addr]. */
struct out_way {
    size_t host, addr;
    bool tried;
};

/* AUTH of one session; zeroed: none. */
struct out_login {
    char *mechanism;
    void *exchange; /* Gsasl_session */
    struct buf secret;
    bool held;    /* another connection logs in for the first time */
    bool waiting; /* for the secret */
    bool over;    /* nothing is left to say; SCRAM: the peer has shown that it knows the password */
    bool refused; /* a token was */
};

/* A job as its connection has it. */
struct out_load {
    struct out_work *job;
    struct slice *addresses;      /* of the job */
    struct smtp_client_ask *asks; /* the same */
    struct verdict *verdicts;     /* the same: of the transactions that are over */
    struct buf verp;              /* the reverse-path of the transaction; "": the job's */
    size_t first, n_now; /* recipients of the transaction under way: a peer may take fewer at a time
                            than there are (RFC 9422) */
    bool header_known, peeking, utf8_header; /* whether its header section has 8-bit bytes */
    struct attempt *heard; /* at the host that said "later" to it, and sent it on to one more; NULL:
                              none did. Its words are the connection's `failure` */
};

/* One job ahead of the answer to another's dot (ahead.c). */
struct out_ahead {
    struct out_work *next; /* got ahead, not begun: the machine does not take it now */
    struct out_load front; /* has its dot out, and `load` was begun behind it; job NULL: none */
    bool asked;            /* of the spooler, for the transaction under way */
    bool pays;             /* how the last dot of this session was answered */
    struct mono dot;       /* when the one that is out went; 0: none is */
    struct mono until;     /* with one ahead: longer it does not wait */
};

struct out_conn {
    uint64_t id;
    struct outbound *o;
    struct conf *conf;
    const struct conf_destination *dest;
    struct plan *plan;
    struct out_way *ways; /* in the order in which they are tried */
    size_t n_ways, way;   /* the one that is talked to, or was called last */
    unsigned tries;
    struct link *dials[OUT_TRIES_MAX + 1]; /* called, no answer yet */
    size_t n_dials;
    struct link *link; /* that one answered */
    struct sockaddr_storage peer;
    struct out_source source; /* of that one */
    struct net_names names;   /* of the last link, once it is gone */
    struct smtp_client_conf client_conf;
    struct smtp_client *client;
    bool talked;        /* this address was connected to */
    bool in_clear;      /* this address gets no STARTTLS: its handshake has failed */
    bool no_session;    /* nor is a TLS session offered to it: that has failed */
    bool offered;       /* one was, in the handshake under way */
    bool handshaking;   /* its time is ours, not the machine's */
    bool token_renewed; /* an address was asked again because a token was refused */
    bool logging_in;    /* this address was asked for a login */
    bool has_turn;      /* … and is asked again within the same turn */
    bool has_news;      /* an address has failed that was not known to */
    int64_t barred_ms;  /* for the result, see struct spooler_result */
    struct out_login login;
    bool rehearsal;            /* nothing is learnt from it, and nobody else's turn is taken … */
    struct out_explain *probe; /* … and it is told step by step: see probe.c. NULL: it is none */
    bool ready, begun, reading, pumping;
    bool in_line; /* it waits for a socket, linked by prev and next */
    struct out_conn *prev, *next;
    bool ending;     /* it is told to have no job any more, and says QUIT */
    bool wants_body; /* the machine has asked for the content at `sent`, and it is not here */
    bool waiting;    /* the machine is ready, and the start of the content is not here */
    bool unsent;     /* of what was handed to the socket, some has perhaps not left */
    struct out_load load;
    struct out_ahead ahead;
    struct buf *domains; /* that this session has sent to, where the peer counts them */
    size_t n_domains;
    uint64_t sent;          /* octets of the job's content given to the machine */
    uint64_t reads;         /* questions for content; the last one's answer counts,
                               while `reading` */
    uint64_t jobs;          /* begun on this address */
    struct verdict failure; /* the last address's */
    struct mono
        full_handshake; /* that the TLS of now stems from: its own, or before it was resumed */
    struct mono step;   /* since when the present step lasts */
    int32_t dns_ms, connect_ms, tls_ms, data_ms;
    UT_hash_handle hh;
};

static inline int32_t out_conn_since(const struct out_conn *c, struct mono now)
{
    return (int32_t)(now.ms - c->step.ms);
}
static inline const struct plan_host *out_conn_host(const struct out_conn *c)
{
    return &c->plan->hosts[c->ways[c->way].host];
}

/* dial.c */
void out_dial_init(struct out_conn *c);
/* Is there an address left to try? */
bool out_dial_more(const struct out_conn *c);
/* The same, of another host. */
bool out_dial_more_hosts(const struct out_conn *c);
/* No other address of this host is called for this job. */
void out_dial_leave_host(struct out_conn *c);
/* Calls it; false: there is none. */
bool out_dial_next(struct out_conn *c);
/* Calls it beside l, which has not answered; later, when there is no place for another socket. */
void out_dial_beside(struct out_conn *c, struct link *l);
/* The same address once more. */
void out_dial_again(struct out_conn *c);
/* A call has been answered: it is the connection's link, the others hang up. */
void out_dial_answered(struct link *l, struct mono now);
/* A call has failed, and counts as a try or not. False: none is under way any more, nor can be. */
bool out_dial_failed(struct link *l, bool costs, struct mono now);
/* What the failure of a call says of the mail, and whether it only says that we have no way there.
 */
struct verdict out_dial_verdict(const struct link *l, int err);
bool out_dial_is_no_route(int err);
/* False: it is no call under way. */
bool out_dial_forget(struct out_conn *c, const struct link *l);
void out_dial_drop(struct out_conn *c);
/* Each address in the order in which they would be called now; rang: it did not answer lately. */
void out_dial_look(const struct out_conn *c, struct mono now,
                   void (*each)(void *ctx, const struct out_way *w,
                                const struct sockaddr_storage *a, bool rang),
                   void *ctx);

/* The call has found no descriptor, while other connections have some: the connection is to wait
 * for one of them, as if it had not called. False: it has failed. */
bool out_dial_put_off(struct link *l, int err);

/* places.c */
bool out_places_left(struct outbound *o);
/* May it begin to call? False: it waits, and is called up (out_conn_call) by itself. A rehearsal
 * does not wait. */
bool out_place_take(struct out_conn *c);
void out_place_wait(struct out_conn *c); /* behind the others */
void out_place_leave(struct out_conn *c);
/* A link's socket is counted until it is closed. */
void out_place_begin(struct link *l, struct outbound *o);
/* Where it was counted; NULL: it is no more. */
struct outbound *out_place_end(struct link *l);
/* Whoever waits, and has a place now, calls. May end those, and no others. */
void out_places_call_up(struct outbound *o);

/* talk.c */
extern const struct net_handler out_link_handler;
/* The machine is turned until it has nothing more to say or to ask. */
void out_conn_pump(struct out_conn *c, struct mono now);

/* conn.c */
/* Ends the connection: a job that it still has goes back untouched. */
void out_conn_end(struct out_conn *c);
/* A connection that is nobody's: to this destination by this plan (taken), with its first job
 * (taken); out_conn_start calls the first address. */
struct out_conn *out_conn_new(struct outbound *o, uint64_t id, struct conf *conf,
                              const struct conf_destination *d, struct plan *plan,
                              struct out_work *job);
void out_conn_start(struct out_conn *c);
/* Without a word to anybody. */
void out_conn_drop(struct out_conn *c);
/* The same address once more. */
void out_conn_again(struct out_conn *c);
/* A call has failed: the next address, or the end. */
void out_conn_call_failed(struct link *l, int err, struct mono now);
/* It has a place, and calls the next address. */
void out_conn_call(struct out_conn *c);
/* Of the job: v is taken, and stands unless an earlier one counts more. */
void out_conn_note_failure(struct out_conn *c, struct verdict v);
/* Gives this address up because of v (taken) and goes on with the next one, or ends. */
void out_conn_go_on(struct out_conn *c, struct verdict v);

/* look.c: for who looks on at a connection (transcripts) */
/* A call, or a transaction, is about to begin: what is carried, and where to. */
void out_look_label(const struct out_conn *c, struct net_conn *net);
bool out_look_at_ease(void *link, size_t *ret_awaited); /* of out_link_handler */
const struct smtp_hidden *out_look_said(void *link);    /* the same */

/* resume.c: TLS, and the sessions that it is resumed by */
/* Begins the handshake, perhaps with the offer of a session. */
void out_resume_start(struct out_conn *c, struct tls_context *tls, struct mono now);
/* The handshake has come to its end. */
void out_resume_done(struct out_conn *c, struct mono now);
/* What the peer has given so far is kept for others. */
void out_resume_keep(struct out_conn *c, struct mono now);
/* The handshake has failed. True: a session was offered, and perhaps it was that: all that there
 * are for this peer are dropped, and the same address is called again without one, which is no try
 * of its own. A certificate that does not verify was shown in a full handshake: that is told. */
bool out_resume_again(struct out_conn *c);

/* relays.c, for a destination that has `relay` */
/* The order of its hosts for this connection, in place; returns how many may be asked. */
size_t out_relay_order(struct out_conn *c, size_t *order);
void out_relay_failed(struct out_conn *c, const struct plan_host *h, const struct verdict *v);
void out_relay_works(struct out_conn *c);
/* What is known of a host; again_ms and why (the caller frees it) only of one that is not fine. */
enum out_host_state out_relay_state(const struct out_conn *c, const struct plan_host *h,
                                    int64_t *ret_again_ms, char **ret_why);
/* Is it this connection's turn to log in? NO: the session has been told to give up. */
enum out_login_turn out_relay_login(struct out_conn *c);
/* Until one of its hosts may be asked again, where all are barred; 0: it may be now. */
int64_t out_relay_barred_ms(const struct out_conn *c);
/* False: a login that another connection failed with. */
bool out_relay_is_news(const struct out_conn *c, const struct verdict *v);

/* login.c */
/* CLI_LOGIN. */
void out_login_step(struct out_conn *c, const struct smtp_client_action *a, struct mono now);
/* One that is held asks again whether it is its turn. */
void out_login_go(struct out_conn *c);
#define OUT_LOGIN_LOOK_MS 100
/* What was asked for is here; problem "" or why it is not. */
void out_login_secret(struct outbound *o, uint64_t conn, struct slice secret, const char *problem);
/* After 235: the mechanism has come to its end. */
bool out_login_holds(const struct out_conn *c);
void out_login_done(struct out_login *l);
void out_sasl_free(void *sasl);

/* secrets.c: answers by out_login_secret, at once or later */
void out_secret_ask(struct out_conn *c);
/* The token that this connection has shown is not good: it is kept no more. */
void out_secret_refused(const struct out_conn *c);
void out_secret_wipe(struct buf *b);

/* content.c */
/* Whether utf8_header is known. False: the start of the content is asked for, and the job begins
 * when it is here. */
bool out_content_header(struct out_conn *c);
/* CLI_BODY. */
void out_content_body(struct out_conn *c, struct mono now);

/* policy.c */
enum smtp_tls_level out_tls_level(const struct conf_destination *d, const struct mail_params *p);
const char *out_tls_name(enum smtp_tls_level level); /* as in events */
/* After a failed handshake. */
bool out_may_go_in_clear(const struct conf_destination *d, const struct mail_params *p,
                         uint32_t attempt);
/* For REQUIRETLS: a certificate for this name is one for those who are meant. */
bool out_trusts_host(const struct conf_destination *d, struct slice host, struct slice recipient);
/* Final as far as this host goes: it lacks an extension that the mail cannot go without. */
bool out_is_inability(const struct verdict *v);

/* recipients.c */
/* The job's recipients, and what was asked for them; whom this host is not for. */
void out_rcpts_prepare(struct out_conn *c);
/* n_now recipients from `first` on for the next transaction; false: this session takes no more. */
bool out_rcpts_choose(struct out_conn *c);
/* The reverse-path of the transaction that was chosen, borrowed until the next one is: the sender,
 * or, where the configuration says so, one that names its recipient. */
struct slice out_rcpts_sender(struct out_conn *c);
/* For the job's recipients in their order, of which each has a verdict: the reverse-paths that
 * named them to the receiver, "" where none did (owned, as their array). NULL: none of such mail.
 */
struct buf *out_rcpts_paths(struct out_conn *c, const struct verdict *v, size_t n);
/* The transaction is over: `first` goes on by those who have a verdict (copied) of their own. */
void out_rcpts_settle(struct out_conn *c, const struct verdict *v, size_t n);
void out_rcpts_forget_session(struct out_conn *c);

/* probe.c: what a rehearsal's connection tells; each does nothing for another one */
void out_probe_called(struct link *l, const struct sockaddr *to);
void out_probe_connected(const struct out_conn *c);
void out_probe_tls(struct out_conn *c, bool ok, const char *why);
/* This address, or this call, comes to nothing. */
void out_probe_failed(const struct out_conn *c, const struct verdict *v);
/* What would have become of the mail; VERDICT_NONE: it would be taken. */
void out_probe_result(const struct out_conn *c, const struct verdict *v);
/* The connection is over. */
void out_probe_over(struct out_conn *c);

/* job.c */
/* Begins, or goes on with the recipients that are left, when the content's start is known as far as
 * it matters. A connection kept from before that does not suit the job is ended; the job goes back
 * untouched. */
void out_job_begin(struct out_conn *c, struct mono now);
/* CLI_TXN_DONE; false: the connection is gone, or its session is. */
bool out_job_done(struct out_conn *c, const struct smtp_client_action *a, struct mono now);
/* The connection ends with the job still there. */
void out_job_untouched(struct out_conn *c);
/* Answers the job: verdicts are copied, one for all when n == 1. */
void out_job_report(struct out_conn *c, const struct verdict *v, size_t n, bool ready);
void out_job_drop(struct out_conn *c);
void out_load_drop(struct out_load *l);
/* The transaction for what is left of the job. */
struct smtp_client_txn out_job_txn(const struct out_conn *c);
/* Protected as the job needs it, and the peer has what it asks for (checklist 68). */
bool out_job_suits(const struct out_conn *c, const struct smtp_client_txn *t);
/* Answers it by the verdicts that there are; for whom there is none it was no attempt. */
void out_job_report_all(struct out_conn *c, bool ready);
/* Made under an older configuration, or long ago: it carries nothing more. */
bool out_job_is_last(const struct out_conn *c, struct mono now);

/* ahead.c */
/* All that could be said is said: time to ask for a job ahead, if it pays. */
void out_ahead_look(struct out_conn *c, struct mono now);
/* A job has come while another is under way. */
void out_ahead_work(struct out_conn *c, struct out_work *w, struct mono now);
/* The machine is ready: what it did not take before is the job. */
void out_ahead_ready(struct out_conn *c);
/* A transaction's end, before anything follows from it. True: it was the one in front, and all is
 * done. */
bool out_ahead_done(struct out_conn *c, const struct smtp_client_action *a, struct mono now);
/* It has waited for long enough, and goes back. False: not yet, or there is none. */
bool out_ahead_late(struct out_conn *c, struct mono now);
struct mono out_ahead_deadline(const struct out_conn *c);
/* Of a session that is gone; nothing was begun behind another. */
void out_ahead_forget_session(struct out_conn *c);
/* The connection ends: what was not begun goes back. */
void out_ahead_end(struct out_conn *c);
void out_ahead_drop(struct out_conn *c);
