/*
 * An administrator's own rows of the classification table: what a reply means, asked before the
 * table of relay/smtp/trouble.c. Pure. One line a row, the first that matches is taken:
 *
 *   line    = phase SP code SP status SP result [SP words]
 *   phase   = "any" / "banner" / "ehlo" / "starttls" / "auth" / "mail" / "rcpt" / "data" / "eod"
 *   code    = "any" / "4xx" / "5xx" / 3digit           status = "any" / "*.S.*" / "*.S.D" (RFC
 * 3463) result  = class [":temporary" / ":permanent"]      words  = shell pattern, letter case
 * ignored
 *
 * SP is any number of blanks and tabs; empty lines and lines that begin with "#" are passed over.
 * Bounds: CLASSES_ROWS_MAX rows, CLASSES_WORDS_MAX octets of words.
 */
#pragma once
#include "relay/base/verdict.h"

#define CLASSES_ROWS_MAX 1000
#define CLASSES_WORDS_MAX 200

struct class_row {
    enum phase phase; /* PHASE_NONE: any */
    uint16_t code;    /* 0: any; 4, 5: that class; else this very code */
    bool has_subject, has_detail;
    uint16_t subject, detail;
    enum verdict_class class;
    enum verdict_kind kind; /* DEFERRED: temporary, FAILED: permanent, NONE: as the code says */
    char words[CLASSES_WORDS_MAX + 1]; /* "": whatever it says */
    unsigned line;
};
struct classes {
    size_t n;
    struct class_row rows[];
};

/* NULL: each problem has been told, with its line. Freed by free. */
struct classes *classes_parse(struct slice text,
                              void (*say)(void *ctx, unsigned line, const char *problem),
                              void *ctx);
/* The first row for a reply; NULL: none (also of NULL). e: as it counts, of the code's class. */
const struct class_row *classes_find(const struct classes *c, enum phase phase, uint16_t code,
                                     struct enhanced e, struct slice words);
