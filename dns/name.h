/*
 * A host name as it is asked for: lower-case ASCII, no final dot, labels of 1..63 letters, digits,
 * '-' and '_', at most 253 bytes, the last label not all digits (so that "192.0.2.1" is never taken
 * for a name). International names are turned into their ASCII form (IDNA 2008, libidn2). What
 * passes is safe in a log, a header and a query.
 */
#pragma once
#include "dns/answer.h"

/* False (ret_name untouched) when s is no such name. A final dot is taken off. */
bool dns_name_parse(struct slice s, char ret_name[DNS_NAME_SIZE]);
