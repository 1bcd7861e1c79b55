#include "relay/tls/reason.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

const char *reason_take(const char *otherwise)
{
    unsigned long code = ERR_peek_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : otherwise;
}

/* OpenSSL's own words for it are "sslv3 alert handshake failure", whatever the version. */
static const char *alert_of(unsigned long code)
{
    const int alert = ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET;
    const bool is_alert = ERR_GET_LIB(code) == ERR_LIB_SSL && alert > 0 && alert <= UINT8_MAX;
    return is_alert ? SSL_alert_desc_string_long(alert) : NULL;
}

void reason_write(char *to, size_t size, const char *otherwise)
{
    const unsigned long code = ERR_peek_error();
    const char *alert = alert_of(code);
    const bool no_tls =
        ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER;
    const char *text = reason_take(otherwise);
    if (alert)
        snprintf(to, size, "the other side says: %s", alert);
    else
        snprintf(to, size, "%s", no_tls ? "the other side does not speak TLS" : text);
}

int reason_err(struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "%s: %s", what, reason_take("OpenSSL gives no reason"));
}
