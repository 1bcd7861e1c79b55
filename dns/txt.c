#include "dns/txt.h"
#include <ares.h>
#include <arpa/nameser.h>
#include <poll.h>

enum { TRIES = 2 };

static enum dns_status status_of(int ares_status)
{
    switch (ares_status) {
    case ARES_SUCCESS:
        return DNS_OK;
    case ARES_ENOTFOUND:
        return DNS_NXDOMAIN;
    case ARES_ENODATA:
        return DNS_NODATA;
    case ARES_ETIMEOUT:
    case ARES_ECONNREFUSED:
    case ARES_EDESTRUCTION:
        return DNS_TIMEOUT;
    default:
        return DNS_SERVFAIL;
    }
}

/* A record's strings follow each other; the first of each says so. */
static void take(struct dns_txt *t, const struct ares_txt_ext *list)
{
    for (const struct ares_txt_ext *s = list; s; s = s->next) {
        if (s->record_start && t->n == DNS_TXT_MAX)
            return;
        if (s->record_start)
            buf_init(&t->records[t->n++], DNS_TXT_BYTES);
        if (t->n > 0)
            buf_add(&t->records[t->n - 1], slice_of(s->txt, s->length));
    }
}

static void on_answer(void *ctx, int status, int timeouts, unsigned char *p, int n)
{
    struct dns_txt *t = ctx;
    struct ares_txt_ext *list = NULL;
    (void)timeouts;
    if (status == ARES_SUCCESS)
        status = ares_parse_txt_reply_ext(p, n, &list);
    t->status = status_of(status);
    take(t, list);
    ares_free_data(list);
}

/* What c-ares waits for now. Its own macros shift a bit out of an int. */
static nfds_t waits_for(ares_channel channel, struct pollfd polled[ARES_GETSOCK_MAXNUM])
{
    ares_socket_t fds[ARES_GETSOCK_MAXNUM];
    const unsigned set = (unsigned)ares_getsock(channel, fds, ARES_GETSOCK_MAXNUM);
    nfds_t n = 0;
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        const bool readable = set >> i & 1, writable = set >> (i + ARES_GETSOCK_MAXNUM) & 1;
        if (readable || writable)
            polled[n++] = (struct pollfd){
                .fd = fds[i],
                .events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0))};
    }
    return n;
}

/* Until the one question is answered, by c-ares' own clock in the end. */
static void wait_for_answer(ares_channel channel)
{
    struct pollfd polled[ARES_GETSOCK_MAXNUM];
    for (nfds_t n; (n = waits_for(channel, polled)) > 0;) {
        struct timeval tv;
        const struct timeval *left = ares_timeout(channel, NULL, &tv);
        poll(polled, n, left ? (int)(left->tv_sec * 1000 + left->tv_usec / 1000 + 1) : 1000);
        for (nfds_t i = 0; i < n; i++)
            ares_process_fd(channel,
                            polled[i].revents & (POLLIN | POLLERR | POLLHUP) ? polled[i].fd
                                                                             : ARES_SOCKET_BAD,
                            polled[i].revents & POLLOUT ? polled[i].fd : ARES_SOCKET_BAD);
        ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
}

void dns_txt_ask(struct dns_txt *ret, const char *servers, const char *name, int64_t timeout_ms)
{
    *ret = (struct dns_txt){.status = DNS_SERVFAIL};
    ares_channel channel;
    /* c-ares doubles the time of each further try. */
    struct ares_options o = {.flags = ARES_FLAG_EDNS,
                             .tries = TRIES,
                             .timeout = (int)(timeout_ms / 3 + 1),
                             .ednspsz = 1232};
    const int mask = ARES_OPT_FLAGS | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS | ARES_OPT_EDNSPSZ;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return;
    if (ares_init_options(&channel, &o, mask) == ARES_SUCCESS) {
        if (!servers[0] || ares_set_servers_ports_csv(channel, servers) == ARES_SUCCESS) {
            ares_query(channel, name, ns_c_in, ns_t_txt, on_answer, ret);
            wait_for_answer(channel);
        }
        ares_destroy(channel);
    }
    ares_library_cleanup();
}

void dns_txt_done(struct dns_txt *t)
{
    for (size_t i = 0; i < t->n; i++)
        buf_done(&t->records[i]);
    t->n = 0;
}
