/* Session tickets (RFC 5077, RFC 8446 section 4.6.1): what contexts use of struct tls_tickets.
 * Private to this room. */
#pragma once
#include "relay/tls/tls.h"
#include <openssl/ssl.h>

/* From now on the tickets of ssl_ctx are made and read with t's keys. refs t: whoever frees ssl_ctx
 * gives it back after. */
void tickets_use(SSL_CTX *ssl_ctx, struct tls_tickets *t);
