/* A spool that cannot be opened: what a person can do about it. */
#pragma once
#include "relay/base/err.h"

/* Puts the folder in front of the sentence, and the advice for this errno behind it; returns code.
 */
int advice_explain(struct err *e, int code, const char *path);
