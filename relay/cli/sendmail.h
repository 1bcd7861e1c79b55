/*
 * The classic sendmail command line, in its parts: `sendmail_args.c` reads the options, and
 * `sendmail_compose.c` makes a message of what came on standard input (both pure);
 * `sendmail_hand.c` hands it to the daemon through the control socket, `sendmail_smtp.c` through a
 * listener that trusts this host; `mailq.c` lists the queue. Exit codes are those of sysexits.h.
 */
#pragma once
#include "relay/base/params.h"
#include "relay/cli/private.h"
#include <sysexits.h>

enum sendmail_mode {
    SENDMAIL_SEND,
    SENDMAIL_SMTP,    /* -bs */
    SENDMAIL_LIST,    /* -bp, mailq */
    SENDMAIL_FLUSH,   /* -q */
    SENDMAIL_ALIASES, /* -bi, newaliases: there are none */
    SENDMAIL_NOTHING, /* -q30m: the queue runs by itself */
    SENDMAIL_HELP
};

struct sendmail_args {
    enum sendmail_mode mode;
    const char *config;            /* NULL: not given */
    const char *sender, *fullname; /* NULL: not given */
    const char *envid;             /* NULL: not given */
    const char *only[3];           /* of -q: NULL, or an id, a part of a recipient, of a sender */
    unsigned notify;               /* enum mail_notify; 0: not given */
    enum mail_ret ret;
    enum mail_body body;
    bool from_header;  /* -t */
    bool dot_is_text;  /* -i */
    bool verbose;      /* -v */
    bool header_as_is; /* -G */
    char **rcpts;      /* the rest of the command line */
    int n_rcpts;
    char problem[160];
};
enum { SENDMAIL_ONLY_ID, SENDMAIL_ONLY_TO, SENDMAIL_ONLY_FROM };

/* argv[0] is the name of the verb: mailq and newaliases are sendmail with a mode of their own.
 * EX_OK or EX_USAGE, with the problem in words. */
int sendmail_args(struct sendmail_args *ret, int argc, char **argv);

/* Who sends, as the machine knows: all of it is this program's to check. */
struct sendmail_who {
    const char *login, *fullname; /* fullname NULL: none */
    const char *hostname, *postmaster;
};

struct sendmail_mail {   /* sendmail_mail_done */
    struct buf sender;   /* "": the null reverse-path */
    struct buf content;  /* CR LF line ends */
    struct slice *rcpts; /* each on the heap, none twice */
    size_t n_rcpts;
    bool utf8; /* an address is not ASCII */
};
void sendmail_mail_done(struct sendmail_mail *m);

/* Standard input line by line: LF and CR LF become CR LF, any other CR a blank; a line with only a
 * dot ends it, unless dot_is_text. Any split gives the same. Zeroed but for its buffer: ready. */
struct sendmail_reader {
    struct buf text;
    bool dot_is_text, ended;
    bool cr;     /* one is held back */
    size_t line; /* octets of the line so far */
    bool dot;    /* … of which the first one is a dot */
};
void sendmail_read(struct sendmail_reader *r, struct slice piece);
void sendmail_read_end(struct sendmail_reader *r);

/* Sender, recipients, header and body from what was read. EX_OK, or EX_USAGE or EX_DATAERR with the
 * problem in words. */
int sendmail_compose(struct sendmail_mail *m, const struct sendmail_args *a,
                     const struct sendmail_who *who, struct slice text, char problem[160]);

/* Each an exit code; errors are told. ret_id: the queue id. */
int sendmail_by_socket(struct conf *conf, const struct sendmail_args *a,
                       const struct sendmail_mail *m, char ret_id[32]);
int sendmail_by_smtp(const struct conf *conf, const struct sendmail_args *a,
                     const struct sendmail_mail *m, char ret_id[32]);
/* The words of an error go out as sendmail's. Returns the code. */
int sendmail_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The first listener that takes mail in clear and without a login from this host, or, when there is
 * none, one that would if it did not take this host for a balancer (`proxy-protocol`). */
enum sendmail_trust { SENDMAIL_NO_TRUST, SENDMAIL_BEHIND_PROXY, SENDMAIL_TRUSTED };
struct sendmail_place {
    char host[64];
    uint16_t port;
};
enum sendmail_trust sendmail_trusting(const struct conf *conf, struct sendmail_place *ret);
/* -bs: standard input and output are an SMTP session of that listener. */
int sendmail_session(const struct conf *conf);

int mailq(struct conf *conf);
