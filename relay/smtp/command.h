/*
 * One command line, taken apart (RFC 5321 section 4.1, RFC 1870, 3030, 4954, 6152). Pure;
 * everything found is borrowed from the line. Decided once: letter case of words does not matter;
 * blanks behind "FROM:" and "TO:" and at the end of a line are tolerated; the angle brackets of a
 * path are not optional. Parameters of MAIL and RCPT: params.h.
 */
#pragma once
#include "relay/smtp/params.h"

enum verb {
#define X(name, args, idle, usage, help) VERB_##name,
#include "relay/smtp/verbs.def"
#undef X
    VERB_UNKNOWN,
    VERB_COUNT
};

enum verb_args { ARGS_NONE, ARGS_MAY, ARGS_MUST };

struct verb_row {
    const char *name, *usage;
    enum verb_args args;
    bool idle;        /* brings no message forward */
    const char *help; /* a sentence; "": not listed by HELP */
};

/* NULL for VERB_UNKNOWN. */
const struct verb_row *command_row(enum verb v);
/* The verb at the start of the line; what follows it, without blanks at both ends, goes to
 * *ret_args. */
enum verb command_verb(struct slice line, struct slice *ret_args);
/* No control byte (NUL, TAB, ESC, …) may be part of a command. 8-bit bytes may: where they are
 * wrong, the reply says so. */
bool command_is_clean(struct slice line);

enum command_fault {
    COMMAND_FINE,
    COMMAND_SYNTAX,    /* not "FROM:<path>", not "size [LAST]", … */
    COMMAND_PATH,      /* no address */
    COMMAND_NOT_ASCII, /* an address beyond ASCII, and MAIL did not ask for SMTPUTF8 */
    COMMAND_PARAM_UNKNOWN,
    COMMAND_PARAM_VALUE,
    COMMAND_PARAM_TWICE,
    COMMAND_PARAM_CONFLICT
};

/* What a command may ask for. */
struct command_rules {
    unsigned offered; /* set of enum smtp_extension */
    bool smtputf8;    /* RCPT: MAIL asked for it */
    struct buf *text; /* takes what has to be decoded; emptied first, part of *ret afterwards */
};

/* *ret_culprit as params_read has it. On a fault *ret is untouched. */
enum command_fault command_mail(struct slice args, const struct command_rules *rules,
                                struct smtp_mail *ret, struct slice *ret_culprit);
enum command_fault command_rcpt(struct slice args, const struct command_rules *rules,
                                struct smtp_rcpt *ret, struct slice *ret_culprit);
enum command_fault command_bdat(struct slice args, uint64_t *ret_size, bool *ret_last);
/* "MECHANISM [initial-response]"; "=" is an empty response (RFC 4954 section 4). SYNTAX, or
 * PARAM_VALUE: no base64. */
enum command_fault command_auth(struct slice args, struct slice *ret_mechanism,
                                struct slice *ret_response, bool *ret_has_response);
bool command_is_base64(struct slice s);
