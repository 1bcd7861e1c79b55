/*
 * Who the relay is. Started as root with `user` in the configuration, root is for making the
 * folders that are missing and for binding ports; every file is opened and made as the account, as
 * after a reload. Without `user`, or not started as root, the relay stays who it is and all of this
 * is nothing. One thread, before the loops start.
 */
#pragma once
#include "relay/conf/conf.h"
#include <stdbool.h>

struct identity {
    bool is_other; /* there is another account to become */
};

/* Makes the folders of spool, delivery log and control socket that are missing, gives them to the
 * account, and becomes it; identity_root takes it back. */
int identity_take(struct identity *me, const struct conf *c, struct err *e);
int identity_root(const struct identity *me, struct err *e); /* to bind ports */
/* Becomes the account for good. */
int identity_drop(const struct identity *me, const struct conf *c, struct err *e);
