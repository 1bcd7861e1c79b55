/*
 * The users file as it is now, for all loops: looked at (one fstat) whenever somebody asks, read
 * again when it has changed; once a second also by its path, which may lead to another file because
 * a folder or a link on the way was replaced. A broken file leaves the last good one in force; it
 * is complained of and read again once a second at most, and M_USERS_FILE_BROKEN says so meanwhile.
 * Behind its own lock, which is held while the file is read: nobody is let in by yesterday's.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/conf/users.h"

struct accounts;
struct accounts *accounts_new(const char *path); /* "" = there is no file, and nobody */
void accounts_free(struct accounts *a);
/* A reference (users_unref); NULL: there has been no good file yet. */
struct users *accounts_now(struct accounts *a, struct mono now);
