/*
 * One request line of the control protocol: {"id":N,"verb":"queue.list","args":{…}}. Pure. Nothing
 * is ignored in silence: an unknown verb, argument or filter key, or a value of the wrong type, is
 * an error that names it.
 */
#pragma once
#include "relay/admin/asked.h"

#define REQUEST_LINE_MAX (1u << 20)

enum verb {
    VERB_NONE,
    VERB_STATUS,
    VERB_SUMMARY,
    VERB_LIST,
    VERB_SHOW,
    VERB_CAT,
    VERB_EXPORT,
    VERB_IMPORT_BEGIN,
    VERB_IMPORT_RECIPIENTS,
    VERB_IMPORT_DATA,
    VERB_IMPORT_END,
    VERB_SPOOL_CHECK,
    VERB_RETRY,
    VERB_REMOVE,
    VERB_HOLD,
    VERB_RELEASE,
    VERB_BOUNCE,
    VERB_EXPIRE,
    VERB_REDIRECT,
    VERB_PRIORITY,
    VERB_RELOAD,
    VERB_DRAIN,
    VERB_STOP,
    VERB_LOG_REOPEN,
    VERB_LOG_ROTATE,
    VERB_CLIENT_LIST,
    VERB_CLIENT_BAN,
    VERB_CLIENT_ALLOW,
    VERB_SUPPRESS_LIST,
    VERB_SUPPRESS_ADD,
    VERB_SUPPRESS_REMOVE,
    VERB_DESTINATION_LIST,
    VERB_DESTINATION_SUSPEND,
    VERB_DESTINATION_RESUME,
    VERB_EXPLAIN,
    VERB_PROBE,
    VERB_TRACE
};

/* A place in a listing: the recipient that was given last. Text "QUEUEID.RCPT". */
struct place {
    uint64_t id; /* 0: the beginning */
    uint32_t rcpt;
};
#define PLACE_SIZE 32
void place_write(struct place p, char ret_text[PLACE_SIZE]);
bool place_parse(struct slice s, struct place *ret);

/* import.begin. Texts as they were given: whether they are addresses is import.c's to say. */
struct import_args {
    struct buf sender, user, envid, was; /* was: the queue id that it had */
    uint64_t size;
    int64_t expires_s;
    struct asked asked;
    bool has_sender, hold, submit, delay_told;
};

struct request {
    json_t *id; /* as given, an integer or a string; NULL: unknown */
    enum verb verb;
    struct queue_filter filter; /* ids sorted */
    uint64_t limit;             /* rows; 0: all */
    struct place after;
    enum queue_sort sort;
    uint64_t message; /* show, cat */
    bool count, brief, all, dry_run, headers, repair, no_rcpt;
    struct buf reason;
    struct buf destination; /* redirect; "": back to the way that its domain has */
    bool has_destination, has_priority;
    int8_t priority;
    struct buf address; /* client.…, explain */
    int64_t for_s;      /* client.ban; 0: not given */
    struct import_args import;
    json_t *recipients, *data; /* import: an array, a string; NULL: not given */
};

struct problem {
    const char *code; /* "usage", "not-found", … */
    char message[300];
    bool hopeless; /* not a request at all: the peer is to be closed */
};

/* False: *ret_problem says why, and ret->id is set where it could be read. Either way
 * request_done(ret). */
bool request_parse(struct slice line, struct request *ret, struct problem *ret_problem);
/* It changes recipients of the queue: answered when that is durable. */
bool request_changes(enum verb v);
/* It changes nothing and shows no content. */
bool request_looks(enum verb v);
/* Is it one of these words? */
bool request_word_is(const char *word, const char *const *of, size_t n);
void request_done(struct request *r);
