/*
 * One JSON object after the other as lines of text, for rooms that answer questions of the control
 * socket and know no JSON library: jrow_begin, keys, jrow_end. Pure; texts are cut at JROW_TEXT_MAX
 * bytes, and what is no UTF-8, or a control character, is made harmless (jtext.h). Past the
 * buffer's maximum `overflow` is set, as buf.h says.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"

#define JROW_TEXT_MAX 1024

void jrow_begin(struct buf *out); /* also of an object in a list */
void jrow_close(struct buf *out); /* … and its end */
void jrow_end(struct buf *out);   /* of the line */
void jrow_text(struct buf *out, const char *key, struct slice value);
/* Nothing when it is "". */
void jrow_some(struct buf *out, const char *key, struct slice value);
void jrow_number(struct buf *out, const char *key, uint64_t value);
void jrow_bool(struct buf *out, const char *key, bool value);
void jrow_time(struct buf *out, const char *key, struct wall value);
void jrow_list(struct buf *out, const char *key); /* then items, then jrow_list_end */
void jrow_item(struct buf *out, struct slice text);
void jrow_item_number(struct buf *out, uint64_t value);
void jrow_list_end(struct buf *out);
