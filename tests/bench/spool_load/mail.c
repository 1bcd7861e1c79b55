#include "relay/base/must.h"
#include "tests/bench/spool_load/load.h"
#include <stdio.h>

void mail_make(struct mail *m, uint64_t i, uint64_t size)
{
    unsigned long long n = i, domain = i % MAIL_DOMAINS;
    snprintf(m->sender, sizeof m->sender, "list%02llu@sender.test", n % MAIL_SENDERS);
    snprintf(m->address, sizeof m->address, "u%07llu@d%05llu.bulk.test", n % 10000000, domain);
    snprintf(m->message_id, sizeof m->message_id, "<20261123010203.%016llu@sender.test>",
             n * 2654435761 % 1000000000000000);
    snprintf(m->session, sizeof m->session, "s%012llx", n / 10);
    m->rcpt = (struct envelope_rcpt){.address = slice_str(m->address)};
    m->envelope = (struct envelope){.sender = slice_str(m->sender),
                                    .user = slice_str("newsletter"),
                                    .client_ip = slice_str("192.0.2.17"),
                                    .client_helo = slice_str("app1.sender.test"),
                                    .listener = slice_str("submission"),
                                    .session_id = slice_str(m->session),
                                    .auth_mech = slice_str("PLAIN"),
                                    .message_id = slice_str(m->message_id),
                                    .size = size,
                                    .rcpts = &m->rcpt,
                                    .n_rcpts = 1};
    MUST(m->envelope.message_id.n == 45 && m->rcpt.address.n == 25 && m->envelope.sender.n == 18);
}

struct body *mail_body(uint64_t size)
{
    static const char line[] = "Here is a line of mail of eighty bytes, as most programs make them "
                               "for people.\r\n";
    struct body *b = body_new((size_t)size);
    for (size_t at = 0; at < b->n; at += sizeof line - 1)
        memcpy(b->bytes + at, line, b->n - at < sizeof line - 1 ? b->n - at : sizeof line - 1);
    return b;
}

struct verdict mail_delivered(uint64_t i)
{
    char text[64];
    struct verdict v = {
        .kind = VERDICT_DELIVERED, .phase = PHASE_EOD, .code = 250, .enhanced = {.class = 2}};
    snprintf(text, sizeof text, "Ok: queued as 4Wx%09llX", (unsigned long long)i);
    verdict_set_text(&v, slice_str(text));
    return v;
}

/* A domain says one of three things. */
struct verdict mail_deferred(uint64_t i)
{
    static const char *const texts[] = {"mailbox full", "try again later",
                                        "the user you are trying to contact receives too much"};
    struct verdict v = {.kind = VERDICT_DEFERRED,
                        .class = CLASS_FULL,
                        .phase = PHASE_RCPT,
                        .code = 452,
                        .enhanced = {.class = 4, .subject = 2, .detail = 2}};
    verdict_set_text(&v, slice_str(texts[i / MAIL_DOMAINS % 3]));
    return v;
}

static struct buf text_of(const char *s)
{
    struct buf b = BUF_MAX(256);
    buf_add_str(&b, s);
    return b;
}

void mail_attempt(struct attempt *a, uint64_t i)
{
    char host[40];
    snprintf(host, sizeof host, "mx1.d%05llu.bulk.test", (unsigned long long)(i % MAIL_DOMAINS));
    *a = (struct attempt){.mx_host = text_of(host),
                          .mx_ip = text_of("198.51.100.25"),
                          .source_ip = text_of("192.0.2.1"),
                          .tls_version = text_of("TLSv1.3"),
                          .tls_cipher = text_of("TLS_AES_256_GCM_SHA384"),
                          .tls_policy = "may",
                          .mx_port = 25,
                          .dns_ms = 2,
                          .connect_ms = 11,
                          .tls_ms = 23,
                          .data_ms = 87};
}
