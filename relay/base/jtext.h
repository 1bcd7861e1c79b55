/*
 * JSON written straight into a buffer, for lines that are made by the million: of the delivery log
 * and of listings. Whoever calls sees to commas and braces. Pure.
 */
#pragma once
#include "relay/base/buf.h"

/* A string with its quotes: valid UTF-8, controls escaped, bytes that are no UTF-8 replaced by
 * U+FFFD. It ends before a character that would pass raw_max bytes of s or escaped_max bytes of
 * output; returns true when it was cut so. */
bool jtext_string(struct buf *out, struct slice s, size_t raw_max, size_t escaped_max);
void jtext_number(struct buf *out, uint64_t n);
