/*
 * The configuration: one file read with libConfuse through options.def, checked whole, then frozen:
 * a reload makes a new one and the old lives until its last user lets go. Every key has a safe
 * default; unknown keys, wrong units and contradictions are errors with FILE:LINE. Strings live
 * with the snapshot. Lists end where their count says.
 */
#pragma once
#include "relay/base/classes.h"
#include "relay/base/err.h"
#include "relay/base/frozen.h"
#include "relay/base/log.h"
#include "relay/base/slice.h"

struct dsn_template; /* relay/mail */
struct dkim_ring;    /* relay/mail */

#define CONF_RETRY_MAX 16
#define CONF_PAIRS_MAX 3 /* kinds of keys of one tls section */

enum conf_listener_tls { CONF_TLS_NONE, CONF_TLS_STARTTLS, CONF_TLS_IMPLICIT };
enum conf_auth { CONF_AUTH_REQUIRED, CONF_AUTH_OPTIONAL, CONF_AUTH_NONE };
/* What becomes of a message that lacks a header field. */
enum conf_missing { CONF_MISSING_ADD, CONF_MISSING_REFUSE, CONF_MISSING_KEEP };
enum conf_client_certificates { CONF_CERT_NONE, CONF_CERT_REQUEST, CONF_CERT_REQUIRE };
enum conf_recipients { CONF_RECIPIENTS_FULL, CONF_RECIPIENTS_HASHED, CONF_RECIPIENTS_DOMAIN };
/* TLS from the first byte (RFC 8314 section 3.3) */
enum conf_implicit { CONF_IMPLICIT_AT_465, CONF_IMPLICIT_ALWAYS, CONF_IMPLICIT_NEVER };
enum conf_out_tls { CONF_OUT_NONE, CONF_OUT_MAY, CONF_OUT_ENCRYPT, CONF_OUT_VERIFY };

/* Whose mail a bounce keeps off, and what becomes of that. */
enum conf_scope { CONF_SCOPE_USER, CONF_SCOPE_RELAY };
enum conf_suppress { CONF_SUPPRESS_REFUSE, CONF_SUPPRESS_DROP };

struct conf_list {
    const char **items;
    size_t n;
};

struct conf_rate { /* n in each per_ms, which may come at once */
    unsigned n;
    int64_t per_ms;
};

struct conf_retry { /* pauses between attempts; the last one repeats */
    int64_t pause_s[CONF_RETRY_MAX];
    unsigned n;
};

/* A certificate of the listeners, chosen by the name the client asks for (SNI). Several files: one
 * for each kind of key, certificate and key by place. */
struct conf_tls {
    const char *name; /* "" = the section without a title */
    struct conf_list certificate, key;
};

/* Who signs mail of a domain, and with what. */
struct conf_dkim {
    const char *domain;             /* as the title says it */
    struct conf_list selector, key; /* by place */
    bool subdomains;
};

struct conf_listener {
    const char *name;
    struct conf_list address;
    enum conf_listener_tls tls;
    enum conf_auth auth;
    struct conf_list trust;          /* CIDR: may relay without AUTH */
    struct conf_list proxy_protocol; /* CIDR: balancers, which say who the client is */
    uint64_t max_message_size;
    unsigned max_recipients, max_connections, max_connections_per_client;
    struct conf_rate connection_rate_per_client;
    int64_t idle_timeout_ms, message_timeout_ms, greeting_delay_ms;
    int64_t max_hold_s; /* 0: FUTURERELEASE is not offered */
    const char *banner; /* "" = default */
    uint64_t max_header_size;
    unsigned max_header_fields;
    enum conf_missing missing_date, missing_message_id, missing_from, missing_to;
    bool received_user, received_client; /* shown in Received */
    const char *client_ca;               /* "" = none */
    enum conf_client_certificates client_certificates;
};

/* Best first, as a login at a relay takes them. */
#define CONF_MECHANISMS                                                                            \
    "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN OAUTHBEARER XOAUTH2"

struct conf_destination {
    const char *name;             /* "default" for the implicit last one */
    struct conf_list domains, mx; /* patterns; both empty only in the implicit one */
    struct conf_list relay;       /* "host:port" */
    uint16_t port;                /* 25 */
    unsigned connections, messages_per_connection, recipients;
    unsigned window;         /* connections to begin with; 0: half of them */
    struct conf_rate rate;   /* n 0: no limit */
    struct conf_retry retry; /* n 0: delivery's */
    int64_t lifetime_s;      /* 0: delivery's; never longer */
    int64_t connection_time_ms;
    bool chunking;
    enum conf_out_tls tls;
    const char *helo;        /* "" = hostname */
    struct conf_list source; /* "ADDRESS" or "ADDRESS HELO" */
    const char *capture;     /* a Maildir instead of a receiver; "" = none */
    const char *redirect;    /* the one address that gets all; "" = each his own */
    enum conf_implicit implicit_tls;
    const char *user; /* "" = no login; else one of the next three is set, and tls is encrypt or
                         verify */
    const char *password_file, *token_file;
    struct conf_list token_command;   /* program and arguments */
    struct conf_list auth_mechanisms; /* those that may be used; none: any */
};

struct conf {
    struct frozen frozen;
    uint64_t serial; /* of two in a process the later one has the greater */
    const char *path;
    const char *hostname, *postmaster, *user; /* user "" = stay who we are */
    bool i_want_an_open_relay;                /* then rules.c lets listeners be one */
    unsigned threads;                         /* net loops; 0 = cores */
    const char *spool_path;
    uint64_t spool_min_free;
    unsigned spool_max_messages; /* 0: no limit */
    uint64_t spool_max_memory;   /* 0: no limit */
    struct conf_tls *tls;        /* none has files: STARTTLS listeners are then refused by check */
    size_t n_tls;
    size_t tls_default; /* for clients that ask for no name, or one that is nobody's */
    struct conf_listener *listeners;
    size_t n_listeners;
    const char *users_file;         /* "" = none */
    unsigned clients_auth_failures; /* then banned for clients_ban_ms; 0: never */
    int64_t clients_ban_ms;
    struct conf_list clients_allow; /* CIDR: never banned, no connection rate */
    struct conf_list dns_servers, dns_override;
    int64_t dns_timeout_ms;
    bool allow_private_addresses;
    struct conf_list own_addresses; /* that lead here from outside, besides the machine's */
    int64_t lifetime_s;
    int64_t delay_warning_s; /* 0: never */
    struct conf_rate reports_per_sender, reports_per_user;
    const char *double_bounces;        /* where undeliverable reports go; "" = nowhere */
    const char *report_template;       /* "" = none */
    struct dsn_template *report_words; /* what it holds; NULL: none */
    const char *classes_file;          /* "" = none */
    struct classes *classes;           /* what it holds; NULL: none */
    struct conf_retry retry;
    struct conf_destination *destinations; /* the implicit last one included */
    size_t n_destinations;
    struct conf_dkim *dkim;
    size_t n_dkim;
    struct dkim_ring *dkim_keys; /* what the files hold, after conf_load_keys; NULL: none */
    struct conf_list verp_senders, verp_users; /* patterns; both empty: off */
    const char *verp_delimiters;
    unsigned suppression_bounces;                     /* 0: none puts a recipient on the list */
    int64_t suppression_within_s, suppression_keep_s; /* keep 0: for ever */
    enum conf_scope suppression_scope;
    enum conf_suppress suppression_action;
    const char *log_deliveries;
    uint64_t log_rotate_size, log_keep_size, log_min_free;
    int64_t log_rotate_age_s, log_compress_after_s, log_keep_s; /* 0: never */
    enum conf_recipients log_recipients;
    const char *log_hash_key_file; /* "" = none */
    bool log_stdout;
    enum log_level log_level;
    const char *control_socket;
    struct conf_list control_admins,
        control_readers;              /* groups; both empty: the file's mode says it */
    const char *http_address;         /* "" = off */
    int64_t debug_look_at_files_ms;   /* hidden: how often certificates are looked at */
    int64_t debug_ticket_rotation_ms; /* hidden: how long a ticket key makes tickets */
    int64_t debug_session_ms;         /* hidden: how long a TLS session is resumed on the way out */
    int64_t debug_sync_delay_ms;      /* hidden: for promise 2's test */
    uint64_t debug_segment_bytes;     /* hidden: small ones, so that tests see rotation */
    uint64_t debug_log_memory;        /* hidden: of events that wait; 0: as in real life */
    unsigned debug_phase_percent;     /* hidden: how much of its time a step of a delivery has */
    int64_t debug_reply_within_ms;    /* hidden: for promise 33's test; 0: as in real life */
};

/*
 * Reads the file and checks all that its text alone shows: grammar, values, contradictions,
 * listeners that would be open relays. Problems go to say as "FILE:LINE: message" (several); NULL
 * on any problem. Relative paths start at the folder of the file. What is written without a port
 * gets its default, so that every dns_servers and relay item reads "host:port" or "[v6]:port".
 * Patterns are in lower case.
 */
struct conf *conf_load(const char *path, void (*say)(void *ctx, const char *line), void *ctx);
/* Checks on this machine what the file names, with the rights the daemon will have: certificate and
 * key readable, users file whole, folders writable, account there. Returns the number of problems
 * told. (Whether the key fits the certificate is tls_context_server's to say.) */
unsigned conf_check(const struct conf *c, void (*say)(void *ctx, const char *line), void *ctx);
/* Reads the keys that sign mail, which only the daemon's account may: after conf_check, before the
 * snapshot is shared. Returns the number of problems told. */
unsigned conf_load_keys(struct conf *c, void (*say)(void *ctx, const char *line), void *ctx);
/* "FILE:LINE: text", where the i-th tls section has its key (NULL: its certificate). For those who
 * look into the files. */
void conf_tell_tls(const struct conf *c, size_t i, const char *key, const char *text,
                   void (*say)(void *ctx, const char *line), void *ctx);
/* The same for a listener. */
void conf_tell_listener(const struct conf *c, size_t i, const char *key, const char *text,
                        void (*say)(void *ctx, const char *line), void *ctx);
/* And for a destination. */
void conf_tell_destination(const struct conf *c, size_t i, const char *key, const char *text,
                           void (*say)(void *ctx, const char *line), void *ctx);
/* And for a key outside of all sections. */
void conf_tell_top(const struct conf *c, const char *key, const char *text,
                   void (*say)(void *ctx, const char *line), void *ctx);
/* The key in log.hash-key-file, 16 to `max` octets without the white space around them; read now.
 */
int conf_hash_key(const struct conf *c, uint8_t *ret, size_t max, size_t *ret_n, struct err *e);
/* May (nearly) everyone relay through it without AUTH? */
bool conf_is_open_relay(const struct conf_listener *l);
/* Is there a certificate? */
bool conf_has_certificate(const struct conf *c);
struct conf *conf_ref(struct conf *c); /* NULL stays NULL */
void conf_unref(struct conf *c);

/* The first destination that claims the recipient domain by `domains`; NULL: none does (ask the
 * MX). Lower-case domain. */
const struct conf_destination *conf_by_domain(const struct conf *c, struct slice domain);
/* Is mail of this sender, handed in by this user (""), to go out with reverse-paths that name its
 * recipients? */
bool conf_wants_verp(const struct conf *c, struct slice sender, struct slice user);
/* The one of this name; NULL: there is none. */
const struct conf_destination *conf_by_name(const struct conf *c, struct slice name);

/* Units, for the CLI as well. */
bool conf_parse_size(struct slice s, uint64_t *ret_bytes);   /* "25M" */
bool conf_parse_duration(struct slice s, int64_t *ret_ms);   /* "90s" "10m" "4h" "5d" "250ms" */
bool conf_parse_rate(struct slice s, struct conf_rate *ret); /* "100/s" "6000/m" "1000/h" "5/d" */
