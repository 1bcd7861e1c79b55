/*
 * What the verbs share. `args.c` reads the command line, `client.c` talks to the daemon, `table.c`
 * prints, `show.c` words for a person, `filter.c` the FILTER options. Errors go to standard error
 * and say what to do next.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/plural.h"
#include "relay/cli/cli.h"
#include "relay/conf/conf.h"
#include <jansson.h>
#include <signal.h>
#include <stdio.h>

/* args.c */
struct cli_option {
    const char *name;
    char letter; /* 0: none */
    bool has_value;
};
#define OPTION_MAX 32

struct cli_verb {
    const char *name, *summary;
    int (*run)(const struct cli_verb *v, int argc, char **argv);
    const struct cli_option *options; /* ends with a NULL name; -c, --json, --help are everyone's */
    const char *help;
};

struct cli_args {
    const struct cli_verb *verb;
    const char *config;
    bool json;
    const char *names[256], *values[256]; /* as given, in order */
    size_t n;
    int n_words;
    char **words;
};
#define ARGS_GO_ON (-1)
/* ARGS_GO_ON, or the exit code: --help was printed, or the usage was wrong. */
int args_parse(struct cli_args *a, const struct cli_verb *v, int argc, char **argv);
/* The last value given; NULL: not given. An option without a value gives "". */
const char *args_value(const struct cli_args *a, const char *name);
/* Standard error, with the way to the verb's help; CLI_USAGE. */
int args_wrong(const struct cli_args *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Runs argv[1] as a row of the list, for verbs that have verbs; `fallback` without one. A fallback
 * that runs nothing has a help text only: then it is said which verbs there are. */
int args_dispatch(const char *group, const struct cli_verb *list, size_t n,
                  const struct cli_verb *fallback, int argc, char **argv);
/* As args_value, and it is as if it had not been given. */
const char *args_take(struct cli_args *a, const char *name);
/* Every verb, those of groups behind their group's own row; summary: of the first word. */
typedef void cli_each_fn(void *ctx, const struct cli_verb *v, const char *summary);
void cli_each_verb(cli_each_fn *each, void *ctx);
/* elsewhere.c: the same of verbs that others run, which have neither --json nor --config beside
 * their options; NULL: there is none of this name. */
void elsewhere_each(cli_each_fn *each, void *ctx);
const struct cli_verb *elsewhere_find(const char *name);
/* While it is set args_dispatch shows its rows to it, and runs nothing; NULL ends that. */
void args_show(cli_each_fn *each, void *ctx, const char *summary);
bool args_number(const struct cli_args *a, const char *name, uint64_t *ret, int *ret_exit);
/* The same of a number of rows: 0 is none. */
bool args_limit(const struct cli_args *a, const char *name, uint64_t *ret, int *ret_exit);

/* Standard error: "postwain: …". Returns `exit`, for `return cli_fail(CLI_DENIED, …)`. */
int cli_fail(int exit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The exit code for an errno (negative or not). */
int cli_exit_of(int code);
/* Loads the configuration, its problems to standard error; NULL: *ret_exit. */
struct conf *cli_conf(const struct cli_args *a, int *ret_exit);

/* line_reader.c */
struct line_reader {
    int fd; /* a socket; the caller's */
    char *bytes;
    size_t size, begin, end;
    const volatile sig_atomic_t *ended; /* NULL: no signal ends it */
};
/* The next line with its end, the caller's to change until the next call; the last one may have
 * none. Its octets; 0: errno says why, 0 that there are no more. */
size_t line_reader_next(struct line_reader *r, char **ret_line);
void line_reader_done(struct line_reader *r);

/* client.c */
struct client;
/* Connects to the daemon of this configuration. NULL: told, and *ret_exit. */
struct client *client_open(const struct cli_args *a, int *ret_exit);
void client_free(struct client *c);
const struct conf *client_conf(const struct client *c); /* borrowed */
/* One request; args is taken. Each row goes to row (which may be NULL). *ret_done is the caller's
 * (json_decref). An exit code. */
int client_ask(struct client *c, const char *verb, json_t *args,
               void (*row)(void *ctx, const json_t *row), void *ctx, json_t **ret_done);
/* Its two halves, for those who have several questions on their way, or judge the refusal
 * themselves: it is *ret_error (json_decref), and CLI_DONE then. A row that returns false ends the
 * hearing; the client can only be freed then. */
int client_send(struct client *c, const char *verb, json_t *args);
int client_hear(struct client *c, bool (*row)(void *ctx, const json_t *row), void *ctx,
                json_t **ret_done, json_t **ret_error);
/* An error of the daemon's, said; the exit code that it means. */
int client_refused(const json_t *error);
/* The same when there may be no daemon: NULL and CLI_UNREACHABLE, untold, when nobody listens. */
struct client *client_try(struct conf *conf, int *ret_exit);
/* Does this account control the daemon there? Silent; true also when no daemon is there. */
bool client_may_change(struct conf *conf);
/* Says no more that the daemon went away. */
void client_hush(struct client *c);
/* A signal whose handler sets *ended ends what waits; any other one does not. */
void client_heed(struct client *c, const volatile sig_atomic_t *ended);
/* A hearing ends when nobody reads standard output any more (output_is_read). */
void client_until_unread(struct client *c);
/* One more connection to the same daemon. */
struct client *client_again(const struct client *first, int *ret_exit);

/* The same with rows as the daemon wrote them: one object each, the callee's to change. */
int client_ask_text(struct client *c, const char *verb, json_t *args,
                    void (*row)(void *ctx, char *text, size_t n), void *ctx, json_t **ret_done);

/* row.c */
#define ROW_FIELDS_MAX 32
struct row {
    size_t n, next; /* next: where row_text looks first */
    struct {
        const char *key, *value; /* numbers as they are written */
    } at[ROW_FIELDS_MAX];
};
/* Reads text[0..n) in place, which it spoils. False: not an object without objects and lists in it.
 */
bool row_parse(char *text, size_t n, struct row *ret);
/* "" when absent. Cheapest in the order in which the fields stand. */
const char *row_text(struct row *r, const char *key);

/* filter.c */
#define FILTER_OPTIONS                                                                             \
    {"id", 0, true}, {"from", 0, true}, {"to", 0, true}, {"user", 0, true},                        \
        {"destination", 0, true}, {"site", 0, true}, {"state", 0, true}, {"older-than", 0, true},  \
        {"newer-than", 0, true}, {"attempts-ge", 0, true}, {"code", 0, true}, {"reply", 0, true},  \
        {"size-ge", 0, true}, {"tag", 0, true},                                                    \
    {                                                                                              \
        "ids-from", 0, true                                                                        \
    }
/* The filter object of the protocol, from options and words (ids). NULL: told, and *ret_exit. */
json_t *filter_of(const struct cli_args *a, int *ret_exit);

/* table.c */
struct table_column {
    const char *title;
    bool right, flexible; /* flexible: may be cut to fit the terminal */
};
#define TABLE_COLUMNS_MAX 12
struct table;
struct table *table_new(const struct table_column *columns, size_t n, unsigned width);
void table_row(struct table *t, const char *const *cells); /* copies */
void table_free(struct table *t);                          /* prints what is left */
unsigned table_rows(const struct table *t);
void table_to(struct table *t, FILE *to); /* before the first row; else standard output */
/* Columns of standard output; 0: not a terminal, nothing is cut. */
unsigned term_width(void);
unsigned term_height(void); /* lines; 24 when it is not known */
/* Standard output is a terminal and NO_COLOR is not set. */
bool term_color(void);

/* width.c */
/* Columns that a text takes; it has no control characters. */
unsigned term_columns(const char *text);
/* How many octets of a text fit into so many columns, and what these take: no character is cut, and
 * none is parted from the accents on it. */
size_t term_fit(struct slice text, unsigned columns, unsigned *ret_taken);

/* show.c: each writes into text and returns it */
#define SHOW_SIZE 64
const char *show_seconds(char text[SHOW_SIZE], int64_t seconds); /* "3d 4h", "5m" */
const char *show_bytes(char text[SHOW_SIZE], int64_t bytes);     /* "1.2M" */
/* How long ago (or ahead) an RFC 3339 time is; "-" when there is none. */
const char *show_age(char text[SHOW_SIZE], const json_t *row, const char *key);
const char *show_ahead(char text[SHOW_SIZE], const json_t *row, const char *key);
/* The same for a time as text; sign 1: ahead, -1: ago. */
const char *show_distance(char text[SHOW_SIZE], const char *time, int sign);
bool show_parse_time(const char *text, struct wall *ret);
const char *json_text(const json_t *row, const char *key); /* "" when absent */
int64_t json_number(const json_t *row, const char *key);   /* 0 when absent */
bool utf8_text(const char *text);
/* Writes out what stands in standard output's buffer. False: its reader has gone, which a pipe
 * tells without another write, or it cannot be written. */
bool output_is_read(void);
/* Valid UTF-8 without controls on standard output. */
void print_clean(FILE *to, const char *text);
void print_json_line(void *ctx, const json_t *row); /* a row as one line; ctx is not used */
void json_keep_row(void *rows, const json_t *row);  /* into an array */
void print_text_line(void *ctx, char *text, size_t n);

/* init.c and log.c: texts that the program carries, line by line */
extern const char *const init_template[];
extern const char *const log_schema[];
/* The example with the paths of DIR and this host's name. */
struct init_names {
    const char *folder, *hostname, *user; /* user NULL: stays a comment */
};
/* With all that is missing above; a file that is not there yet, with this mode whatever the umask.
 * An exit code, told. */
int init_make_folders(const char *path, unsigned last);
int init_write_new(const char *folder, const char *name, struct slice text, unsigned mode);
void init_write_conf(struct buf *out, const struct init_names *names);

/* log_line.c: an event for a person, one line. False: the line is not an event. */
bool log_line(struct buf *out, const json_t *event, bool color);

/* log.c: a number to begin behind that is none of this log's. */
struct log_read;
void log_tell_ahead(const struct log_read *from, uint64_t since);

/* log_filter.c */
struct log_filter;
/* From the FILTER options that the log knows; NULL: told, and *ret_exit. a outlives it. */
struct log_filter *log_filter_new(const struct cli_args *a, int *ret_exit);
void log_filter_free(struct log_filter *f);
bool log_matches(const struct log_filter *f, const json_t *event);
#define LOG_FILTER_OPTIONS                                                                         \
    {"event", 0, true}, {"id", 0, true}, {"ids-from", 0, true}, {"from", 0, true},                 \
        {"to", 0, true}, {"user", 0, true}, {"destination", 0, true}, {"site", 0, true},           \
        {"class", 0, true}, {"error", 0, true}, {"code", 0, true}, {"reply", 0, true},             \
        {"tag", 0, true}, {"attempts-ge", 0, true}, {"size-ge", 0, true}, {"older-than", 0, true}, \
    {                                                                                              \
        "newer-than", 0, true                                                                      \
    }

/* user.c and user_list.c */
/* The configuration, when it has a users file; NULL: told. */
struct conf *user_conf(const struct cli_args *a, int *ret_exit);
/* Its users; NULL: told. */
struct users *user_load(const struct conf *c, int *ret_exit);
int user_list(const struct cli_verb *v, int argc, char **argv);

/* check_names.c: `check --dns`. What is wrong, each a line; returns how many. */
typedef void check_say_fn(void *ctx, const char *line);
unsigned check_names(const struct conf *c, check_say_fn *say_problem, check_say_fn *say_note);

/* The verbs. */
int verb_init(const struct cli_verb *v, int argc, char **argv);
int verb_check(const struct cli_verb *v, int argc, char **argv);
int verb_user(const struct cli_verb *v, int argc, char **argv);
int verb_status(const struct cli_verb *v, int argc, char **argv);
/* manual.c: pages of the manual as mdoc */
int manual_list(void);
int manual_page(const char *name);
int verb_completion(const struct cli_verb *v, int argc, char **argv);
int verb_top(const struct cli_verb *v, int argc, char **argv);
int verb_queue(const struct cli_verb *v, int argc, char **argv);
int verb_queue_act(const struct cli_verb *v, int argc, char **argv);
int queue_list(const struct cli_verb *v, int argc, char **argv);
/* attempts.c: what the delivery log has of a message; nothing where it cannot be read but a word
 * on standard error. */
void attempts_show(const char *log, const json_t *message, bool json);
int queue_show(const struct cli_verb *v, int argc, char **argv);
int queue_cat(const struct cli_verb *v, int argc, char **argv);
int verb_export(const struct cli_verb *v, int argc, char **argv);
int verb_import(const struct cli_verb *v, int argc, char **argv);
int verb_client(const struct cli_verb *v, int argc, char **argv);
int verb_explain(const struct cli_verb *v, int argc, char **argv);
int verb_trace(const struct cli_verb *v, int argc, char **argv);
int verb_destination(const struct cli_verb *v, int argc, char **argv);
/* dkim.c: what `check` says of a configuration whose keys are loaded. */
void dkim_summary(const struct conf *c);
void dkim_notes(const struct conf *c);
int verb_dkim(const struct cli_verb *v, int argc, char **argv);
int verb_suppress(const struct cli_verb *v, int argc, char **argv);
int verb_spool(const struct cli_verb *v, int argc, char **argv);
int verb_log(const struct cli_verb *v, int argc, char **argv);
int verb_forward(const struct cli_verb *v, int argc, char **argv);
int verb_sendmail(const struct cli_verb *v, int argc, char **argv);
int verb_plain(const struct cli_verb *v, int argc, char **argv);
/* The table of sites, for status and queue. */
struct table *sites_table(void);
void sites_row(void *table, const json_t *row);
void print_counts(FILE *to, const json_t *done);
void print_warnings(FILE *to, const json_t *done);
/* `status`: what was answered, on a page of so many lines; of destinations the busiest. */
void status_page(FILE *to, const json_t *rows, const json_t *done, unsigned lines);
