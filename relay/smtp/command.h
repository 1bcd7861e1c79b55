/*
 * One command line, taken apart (RFC 5321 section 4.1, RFC 1870, 3030, 4954, 6152). Pure;
 * everything found is borrowed from the line. Decided once: letter case of words does not matter;
 * blanks behind "FROM:" and "TO:" and at the end of a line are tolerated; the angle brackets of a
 * path are not optional; a parameter comes once; an unknown one is refused (555), never ignored.
 */
#pragma once
#include "relay/smtp/types.h"

enum verb {
#define X(name, args, usage, help) VERB_##name,
#include "relay/smtp/verbs.def"
#undef X
    VERB_UNKNOWN,
    VERB_COUNT
};

enum verb_args { ARGS_NONE, ARGS_MAY, ARGS_MUST };

struct verb_row {
    const char *name, *usage;
    enum verb_args args;
    bool help; /* listed by HELP */
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
    COMMAND_NOT_ASCII, /* an address with 8-bit bytes, and SMTPUTF8 is not offered */
    COMMAND_PARAM_UNKNOWN,
    COMMAND_PARAM_VALUE,
    COMMAND_PARAM_TWICE
};

/* *ret_culprit is the parameter at fault where there is one: a well-formed keyword, safe to repeat
 * in a reply; else "". */
enum command_fault command_mail(struct slice args, bool auth_param, struct smtp_mail *ret,
                                struct slice *ret_culprit);
enum command_fault command_rcpt(struct slice args, struct smtp_rcpt *ret,
                                struct slice *ret_culprit);
enum command_fault command_bdat(struct slice args, uint64_t *ret_size, bool *ret_last);
/* "MECHANISM [initial-response]"; "=" is an empty response (RFC 4954 section 4). SYNTAX, or
 * PARAM_VALUE: no base64. */
enum command_fault command_auth(struct slice args, struct slice *ret_mechanism,
                                struct slice *ret_response, bool *ret_has_response);
bool command_is_base64(struct slice s);
