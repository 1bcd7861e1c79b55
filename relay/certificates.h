/*
 * The certificates of a running relay: read for a configuration, looked at again while it runs (a
 * stat of each file every few seconds), and what status and metrics tell of them. New files are
 * taken when all of them fit together; else those read before stay, and that is told. The keys of
 * session tickets are kept here, too, and changed in time.
 *
 * No thread of its own: calls do not overlap (the house's lock).
 */
#pragma once
#include "relay/admin/admin.h"
#include "relay/base/clock.h"
#include "relay/conf/conf.h"
#include "relay/tls/tls.h"

struct certificates;
struct certificates *certificates_new(void);
void certificates_free(struct certificates *k);
/* Reads what c names. *ret: the listeners' contexts, one reference; NULL: c names none. An error
 * changes nothing. Files that end soon are told in the log. */
int certificates_load(struct certificates *k, const struct conf *c, struct tls_context **ret,
                      struct err *e);
/* Once in c's debug-look-at-files: true: the files have changed, and *ret is what they hold now.
 * What does not fit is told in the log, once. */
bool certificates_look(struct certificates *k, const struct conf *c, struct mono now,
                       struct tls_context **ret);
void certificates_each(const struct certificates *k, admin_certificate_fn *each, void *each_ctx);
/* Why the newest files were not taken; NULL: they were. */
const char *certificates_problem(const struct certificates *k);
