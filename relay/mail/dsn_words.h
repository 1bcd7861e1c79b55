/* The sentences of a report's first part: what happened and what to do next, by the verdict's
 * class. Private to this room. */
#pragma once
#include "relay/mail/dsn.h"

const char *dsn_words_intro(size_t failed, size_t delayed, size_t relayed);
const char *dsn_words_happened(enum dsn_action action, const struct verdict *v);
const char *dsn_words_next(enum dsn_action action, const struct verdict *v);
/* By which class it is spoken of a failure. */
enum verdict_class dsn_words_class(const struct verdict *v);
/* Of a report that could not be delivered. */
const char *dsn_words_double_intro(void);
const char *dsn_words_double_next(void);
