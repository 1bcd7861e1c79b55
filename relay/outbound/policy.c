/*
 * How well a connection must be protected for a job, and which host's name can be believed. Pure.
 *
 * REQUIRETLS (RFC 8689 section 4.2.1) wants a host whose name did not come from the DNS of just
 * anybody. There is neither DNSSEC nor MTA-STS here yet, so only the administrator's word counts.
 */
#include "relay/base/must.h"
#include "relay/outbound/conn.h"

static enum smtp_tls_level level_of(const struct conf_destination *d)
{
    switch (d->tls) {
    case CONF_OUT_NONE:
        return SMTP_TLS_NONE;
    case CONF_OUT_MAY:
        return SMTP_TLS_MAY;
    case CONF_OUT_ENCRYPT:
        return SMTP_TLS_ENCRYPT;
    case CONF_OUT_VERIFY:
        return SMTP_TLS_VERIFY;
    }
    UNREACHABLE();
}

const char *out_tls_name(enum smtp_tls_level level)
{
    switch (level) {
    case SMTP_TLS_NONE:
        return "none";
    case SMTP_TLS_MAY:
        return "may";
    case SMTP_TLS_ENCRYPT:
        return "encrypt";
    case SMTP_TLS_VERIFY:
        return "verify";
    }
    UNREACHABLE();
}

/* REQUIRETLS counts more than "TLS-Required: No", where somebody says both (RFC 8689 section 3). */
enum smtp_tls_level out_tls_level(const struct conf_destination *d, const struct mail_params *p)
{
    enum smtp_tls_level level = level_of(d);
    if (p->requiretls)
        return SMTP_TLS_VERIFY;
    /* A password is shown to no other host because a mail's sender does not mind. */
    bool softens = p->tls_optional && level == SMTP_TLS_VERIFY && !(d->user && d->user[0]);
    return softens ? SMTP_TLS_ENCRYPT : level;
}

bool out_may_go_in_clear(const struct conf_destination *d, const struct mail_params *p,
                         uint32_t attempt)
{
    return out_tls_level(d, p) == SMTP_TLS_MAY && (attempt > 1 || p->tls_optional);
}

/* A pattern that names somebody: at least two labels behind its last wildcard. */
static bool names_somebody(struct slice pattern)
{
    size_t dots = 0;
    for (size_t i = pattern.n; i > 0; i--) {
        uint8_t c = pattern.p[i - 1];
        if (c == '*' || c == '?')
            return dots >= 2;
        dots += c == '.';
    }
    return true;
}

static bool is_in_domain(struct slice host, struct slice domain)
{
    if (domain.n == 0 || host.n < domain.n || !slice_iends(host, domain))
        return false;
    return host.n == domain.n || host.p[host.n - domain.n - 1] == '.';
}

bool out_trusts_host(const struct conf_destination *d, struct slice host, struct slice recipient)
{
    if (d->relay.n > 0)
        return true;
    if (d->tls != CONF_OUT_VERIFY || host.n == 0)
        return false;
    for (size_t i = 0; i < d->mx.n; i++) {
        struct slice pattern = slice_str(d->mx.items[i]);
        if (names_somebody(pattern) && slice_glob(pattern, host))
            return true;
    }
    char ascii[DNS_NAME_SIZE];
    return is_in_domain(host, out_domain_ascii(slice_behind_last(recipient, '@'), ascii));
}

/* What another host may offer. */
bool out_is_inability(const struct verdict *v)
{
    return v->kind == VERDICT_FAILED &&
           (v->fault == FAULT_SMTPUTF8 || v->fault == FAULT_REQUIRETLS ||
            v->fault == FAULT_DELIVERBY);
}
