/* A link, for link.c (machines, wire, receiver) and intake.c (what the relay does with a message
 * that came in). */
#pragma once
#include "tests/sim/sim.h"

struct submission;
struct link {
    struct link *prev, *next;
    struct timer *timer;
    bool front;
    struct smtp_client *client;
    struct smtp_server *server;
    struct buf up, down; /* on the wire */
    struct buf content;  /* as the server side has it */
    bool ready, over, silent, closed_by_server, begun;
    bool asked; /* for a job ahead */
    unsigned thinks;
    bool behind;         /* job was begun behind the dot of `front_job` */
    int64_t bytes_left;  /* until the wire breaks */
    int64_t shutdown_us; /* when the receiver stops; 0: never */
    struct smtp_client_txn txn;
    struct slice rcpt_slices[SIM_RCPTS_MAX];
    struct slice to_send; /* content not yet given to the client machine */
    /* front */
    struct sim_message *message;
    struct submission *submission;
    /* back */
    uint64_t conn;
    struct out_work *job, *front_job;
    struct out_work *later; /* got ahead, not begun */
    unsigned n_rcpts;
    char rcpts[SIM_RCPTS_MAX][64];
};

/* Nobody waits any more for the answer to its STORE. */
void link_leave(struct link *l);
/* Something has changed: it goes on in a moment. */
void link_wake(struct sim *s, struct link *l);
