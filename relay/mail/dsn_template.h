/*
 * The human part of reports in an administrator's own words and language: a file in UTF-8 with
 * sections, read with the configuration. README.md has its grammar, the sections and what each
 * variable stands for. What a section does not say stays as we say it. Pure; frozen once it is
 * parsed. Bounds: DSN_TEMPLATE_BYTES_MAX, a line of 500 octets.
 */
#pragma once
#include "relay/base/slice.h"

#define DSN_TEMPLATE_BYTES_MAX ((size_t)64 * 1024)

struct dsn_template;
/* NULL: each problem has been told, with its line. The text is copied. */
struct dsn_template *dsn_template_parse(struct slice text,
                                        void (*say)(void *ctx, unsigned line, const char *problem),
                                        void *ctx);
void dsn_template_free(struct dsn_template *t); /* NULL is fine */

/* The table of variables, for the manual's test: NULL behind the last. */
const char *dsn_template_variable(size_t i);
const char *dsn_template_section(size_t i);
