/* What the other files of this room may know of an engine. */
#pragma once
#include "relay/tls/tls.h"

struct ssl_st;
struct ssl_st *tls_engine_ssl(const struct tls_engine *t);
