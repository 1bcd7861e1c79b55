/*
 * The name of a set of hosts: what its domains share limits and back-off under, and what a person
 * reads in the log. Equal lists give equal names, on every machine and after every restart. One
 * host is its own name; several with a common end of two labels or more are
 * "(aspmx|alt1.aspmx).l.google.com", others "a.example,b.example"; a longer text ends in '~' and
 * its FNV-1a hash. Pure.
 */
#pragma once
#include "dns/answer.h"

#define SITE_SIZE (DNS_NAME_SIZE * 2)

/* names: host names in order of preference, distinct. */
void site_name(const char *const *names, size_t n, char ret_site[SITE_SIZE]);
