/* What the two files of the load generator share: the options, what has been counted, and a
 * session, which its thread alone touches. */
#pragma once
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/uio.h>

struct options {
    const char *host, *user, *password, *times;
    long port, sessions, messages, size, domains, per_connection, seconds, rate, threads;
    bool starttls;
};

struct load {
    struct options opt;
    SSL_CTX *tls;
    char *body; /* of each message, behind its header section, with the final dot */
    size_t body_n;
    atomic_long next_message, accepted, refused, lost;
    atomic_int last_refusal;
    float *latency;    /* by message, ms; < 0: not accepted */
    int64_t *taken_at; /* by message, ns; 0: not accepted */
    double begun;
    atomic_bool stopping;
};

extern struct load load;

/* What a session waits for: a reply to what it has said, unless it says otherwise. */
enum step {
    PAUSE, /* the time of its next connection */
    TURN,  /* the time of its message */
    GREETING,
    HELLO,
    STARTTLS,
    HANDSHAKE, /* the server's part of it */
    HELLO_TLS,
    LOGIN,
    MAIL,
    RCPT,
    DATA,
    CONTENT,
    RESET,
    QUIT,
    OVER /* nothing */
};

struct session {
    int ep, fd;
    SSL *ssl;
    enum step step;
    double due;          /* PAUSE, TURN: when it goes on; else when patience ends */
    double sent;         /* the last octet of the message */
    bool blocked;        /* the kernel takes no more for now */
    struct iovec out[2]; /* what is still to be said */
    long message, on_this, failures;
    char line[512]; /* said; with the content behind it */
    char head[4];   /* of the reply's line */
    size_t head_n;
};

double seconds_now(void);

/* What has happened to the socket. */
void session_event(struct session *c, uint32_t events);
/* Its time has come: it goes on, or it has waited too long. */
void session_due(struct session *c);
void session_hang_up(struct session *c);
