/*
 * The inside of a server session, shared by server.c (bytes, time, answers), server_replies.c (what
 * is said), server_verbs.c (one function a command), server_ehlo.c (what it says of itself) and
 * server_content.c (DATA and BDAT). One command is carried out at a time: its replies go to `out`,
 * what the driver must do to `queue`.
 */
#pragma once
#include "relay/smtp/command.h"
#include "relay/smtp/dot.h"
#include "relay/smtp/line.h"
#include "relay/smtp/server.h"

/* What the bytes that come are: command lines, AUTH responses, content; or, in the last two,
 * nobody's. */
enum server_state {
    SERVER_GREETING, /* not said yet */
    SERVER_COMMAND,
    SERVER_AUTH,
    SERVER_DATA,
    SERVER_CHUNK,
    SERVER_TLS,
    SERVER_END
};
enum server_question {
    ASKED_NOTHING,
    ASKED_AUTH,
    ASKED_MAIL,
    ASKED_RCPT,
    ASKED_BODY,
    ASKED_COMMIT
};

enum situation {
#define X(name, code, class, subject, detail, error, text) SAY_##name,
#include "relay/smtp/server_replies.def"
#undef X
    SAY_COUNT
};

enum {
    SERVER_QUEUE_MAX = 8,
    SERVER_OUT_STOP = 16384, /* more than this unsent: nothing is consumed */
    SERVER_OUT_MAX =
        131072, /* never reached: one command adds a few lines, a challenge is <= 12,288 */
    SERVER_HELO_MAX = 255,
    SERVER_TEXT_MAX = 512,
    SERVER_DECODED_MAX = 1024
};

struct server_content {
    struct dot_reader dot;
    struct slice piece; /* on its way to the driver */
    uint64_t octets;    /* given to the driver */
    uint64_t raw;       /* consumed, dots and all */
    uint64_t declared;  /* sum of the chunk sizes */
    uint64_t chunk, chunk_left;
    bool bdat; /* BDAT has begun in this transaction */
    bool last; /* this chunk is the last */
    bool too_big;
    bool doomed;      /* consumed unseen; then `reply`, instead of COMMIT */
    bool doomed_here; /* by the machine: `situation`; else by the driver: `reply` */
    enum situation situation;
    struct smtp_reply reply; /* its text lies in `reply_text` */
    struct buf reply_text;
};

struct smtp_server {
    const struct smtp_server_conf *conf;
    enum server_state state;
    enum server_question question;
    bool tls, esmtp, authenticated;
    bool eof, stopping;    /* told; acted upon as soon as nothing is under way */
    bool in_transaction;   /* MAIL was accepted */
    bool smtputf8, binary; /* what this MAIL asked for */
    bool path_known;       /* mail or rcpt holds what the command at hand says, for REFUSED */
    enum verb verb;        /* the command at hand */
    unsigned rcpts, errors, auth_failures, messages, idle, unknown, refused;
    struct line line;
    struct buf out;
    struct buf helo;
    struct buf text;   /* what had to be decoded of the command at hand */
    struct buf detail; /* text of the last refusal, when it has a detail */
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
    struct slice mechanism, response;
    bool has_response;
    char mechanism_text[24];
    struct server_content content;
    struct {
        enum smtp_server_act act;
        struct smtp_reply reply;
        bool mail, rcpt;
    } queue[SERVER_QUEUE_MAX];
    size_t queued;
    struct mono begun;     /* the first moment */
    struct mono now;       /* the latest we were told */
    struct mono wait_from; /* since when we wait for the client */
    struct mono asked_at;
    bool resumed;          /* waiting began at a time that we were not told: with the next call */
    struct mono step_from; /* since when the message at hand, or the wait for one, has taken */
    struct mono rate_from; /* the running minute of content, less the time the driver took */
    uint64_t rate_octets;
};

/* server_replies.c */
void server_push(struct smtp_server *s, enum smtp_server_act act);
void server_ask(struct smtp_server *s, enum server_question q, enum smtp_server_act act);
void server_reply(struct smtp_server *s, const struct smtp_reply *r);
void server_refuse(struct smtp_server *s, enum situation what);
/* The reply with ": detail" behind it. */
void server_refuse_with(struct smtp_server *s, enum situation what, struct slice detail);
void server_refuse_number(struct smtp_server *s, enum situation what, uint64_t detail);
/* One more of what brings a message to nobody; true: too many, and the session is closed. */
bool server_count_refused(struct smtp_server *s);
/* Refuses, then closes. */
void server_give_up(struct smtp_server *s, enum situation what);
void server_give_up_with(struct smtp_server *s, enum situation what, struct slice detail);

/* server.c */
void server_close(struct smtp_server *s);
/* ABORT where a transaction is open, and all of it forgotten. */
void server_abort(struct smtp_server *s);
void server_forget(struct smtp_server *s);

/* server_verbs.c */
/* The line in s->line, or what is known of a bad one. `bytes_follow`: the input goes on behind it.
 */
void server_command(struct smtp_server *s, enum line_event event, bool bytes_follow);
void server_auth_response(struct smtp_server *s);
bool server_auth_offered(const struct smtp_server *s);

/* server_ehlo.c */
/* Set of enum smtp_extension, as things stand. */
unsigned server_offers(const struct smtp_server *s);
void server_say_ehlo(struct smtp_server *s);
void server_say_help(struct smtp_server *s, struct slice topic);

/* server_content.c */
/* Content has begun and not ended, also between two chunks. */
bool server_in_content(const struct smtp_server *s);
void server_content_begin_data(struct smtp_server *s);
void server_content_begin_chunk(struct smtp_server *s, uint64_t size, bool last);
size_t server_content_bytes(struct smtp_server *s, struct slice in);
/* After a piece was taken, or content came that gave none: is it over, and how? */
void server_content_settle(struct smtp_server *s);
bool server_content_too_slow(struct smtp_server *s);
struct mono server_content_deadline(const struct smtp_server *s);
void server_content_doom_by_driver(struct smtp_server *s, const struct smtp_reply *reply);
