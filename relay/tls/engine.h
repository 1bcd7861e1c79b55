/* What the other files of this room may know of an engine. */
#pragma once
#include "relay/tls/tls.h"

struct ssl_st;
struct ssl_session_st;
struct X509_VERIFY_PARAM_st;
struct ssl_st *tls_engine_ssl(const struct tls_engine *t);
/* RFC 6125: the certificate is to be one for this name, or this address. Without one nothing is
 * good enough. */
void tls_expect_name(struct X509_VERIFY_PARAM_st *param, struct slice name);
/* The peer has given a session: SSL_CTX_sess_set_new_cb. */
int tls_engine_on_session(struct ssl_st *ssl, struct ssl_session_st *session);
