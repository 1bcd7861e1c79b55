#include "relay/tls/reason.h"
#include <errno.h>
#include <openssl/err.h>
#include <stddef.h>

const char *reason_take(const char *otherwise)
{
    unsigned long code = ERR_peek_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : otherwise;
}

int reason_err(struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "%s: %s", what, reason_take("OpenSSL gives no reason"));
}
