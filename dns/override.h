/* The administrator's own answers (`dns { override }`), found before cache and servers. Made by
 * dns_override_new (resolver.h). */
#pragma once
#include "dns/resolver.h"

/* A reference of the caller's own; NULL: the name is not in the table. */
struct dns_answer *dns_override_find(const struct dns_override *o, const char *name,
                                     enum dns_type type);
struct dns_override *dns_override_ref(struct dns_override *o);
