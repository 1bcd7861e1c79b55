/* What the other files of this room may know of an engine. */
#pragma once
#include "relay/tls/tls.h"

struct ssl_st;
struct ssl_session_st;
struct ssl_st *tls_engine_ssl(const struct tls_engine *t);
/* The peer has given a session: SSL_CTX_sess_set_new_cb. */
int tls_engine_on_session(struct ssl_st *ssl, struct ssl_session_st *session);
