/* Sessions that a client keeps (RFC 5077, RFC 8446 section 4.6.1): private to this room. */
#pragma once
#include "relay/tls/tls.h"
#include <openssl/ssl.h>

/* From a session that the peer has given. NULL: it is not worth keeping, or too big. The caller's.
 */
struct tls_session *session_of(SSL_SESSION *from);
/* Offers it in ssl's handshake, which has not begun. False: it is not good for that: where the
 * certificate counts, the session's must be one for the name (or address), and not have ended. */
bool session_offer(SSL *ssl, const struct tls_session *s, struct slice name);
