/* What the files of the users file know of each other. */
#pragma once
#include "relay/conf/users.h"

#define USERS_FILE_MAX ((size_t)64 << 20) /* 100,000 users with all secrets are 27 */
/* The line that is nobody's: what salts for unknown names are made with. */
#define USERS_KEY_START ":key:"

/* users.c: would this text be a good users file? Else -EINVAL, and e has its first problem. */
int users_text_check(struct slice text, const char *path, struct err *e);

/* users_scram.c: SECRET = "SCRAM-SHA-256$" ITERATIONS ":" SALT "$" STOREDKEY ":" SERVERKEY, the way
 * of RFC 5803 */
bool scram_parse(struct slice text, struct arena *a, struct user_scram *ret);
/* The secret was made beside this hash, and not beside one that stood here before. */
bool scram_is_of(const struct user_scram *s, const char *hash);
/* The secret of a password beside its hash; "" when SASLprep refuses the password. */
void scram_make(struct slice password, const char *hash, char *ret, size_t size);
