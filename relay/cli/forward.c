/*
 * `forward`: the delivery log to a webhook. A process of its own that reads the log as anybody may,
 * with its own cursor, so that a receiver that is slow, down or wrong never holds up mail.
 *
 *   gather lines ─▶ POST ─2xx─▶ cursor, synced ─▶ gather …
 *                    └─ anything else ─▶ wait, POST the same again
 *
 * What was answered 2xx and not yet noted when we die is sent again: receivers go by the events'
 * id.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/forward_post.h"
#include "relay/cli/log_read.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    LINES = 500,
    LINES_MAX = 10000,
    BODY_BYTES = 1 << 20, /* and one line */
    FIRST_WAIT_S = 1,
    LONGEST_WAIT_S = 60,
    NOTE_MS = 5000, /* how often a cursor that only filters moved is written down */
    LOOK_MS = 200,
    ONCE_TRIES = 3,
    SECRET_MIN = 16,
    FILE_MAX = 4096,
};

static volatile sig_atomic_t stopped;

static void on_signal(int signum)
{
    (void)signum;
    stopped = 1;
}

struct forward {
    const struct cli_args *a;
    const char *live, *since_file, *node;
    struct log_filter *filter;
    struct log_read *reader;
    struct poster *poster;
    uint64_t noted, passed; /* the cursor: on disk; lines up to it need nothing any more */
    struct buf body;
    uint64_t first, last, lines, most; /* of the batch */
    struct mono noted_at;
    uint64_t sent;
    bool once;
};

/* ---- the cursor ---- */

static int read_cursor(const char *path, uint64_t *ret)
{
    char text[32] = {0};
    FILE *f = fopen(path, "re");
    if (!f && errno == ENOENT)
        return CLI_DONE; /* the first time: from the oldest line on */
    if (!f)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    if (slice_u64(slice_trim(slice_of(text, n)), UINT64_MAX - 1, ret))
        return CLI_DONE;
    return cli_fail(CLI_USAGE, "%s does not hold a number: it is no --since-file", path);
}

static bool write_synced(const char *path, struct slice text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    return close(fd) == 0 && ok;
}

static int note_cursor(struct forward *f)
{
    DEFER(buf_done) struct buf fresh = BUF_MAX(8192), text = BUF_MAX(64);
    if (f->noted == f->passed)
        return CLI_DONE;
    buf_addf(&fresh, "%s.new", f->since_file);
    buf_addf(&text, "%" PRIu64 "\n", f->passed);
    if (!write_synced(buf_str(&fresh), buf_slice(&text)) ||
        rename(buf_str(&fresh), f->since_file) < 0)
        return cli_fail(cli_exit_of(errno), "%s: %s", f->since_file, strerror(errno));
    f->noted = f->passed;
    f->noted_at = mono_now();
    return CLI_DONE;
}

/* Two with one cursor would each skip what the other has sent. Held until the process ends. */
static int lock_cursor(const char *path)
{
    DEFER(buf_done) struct buf lock = BUF_MAX(8192);
    buf_addf(&lock, "%s.lock", path);
    int fd = open(buf_str(&lock), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return cli_fail(cli_exit_of(errno), "%s: %s", buf_str(&lock), strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return cli_fail(CLI_NOTHING, "%s: another forward is at work with it", path);
    return CLI_DONE;
}

/* ---- a batch ---- */

static void take_line(struct forward *f, struct slice line, uint64_t seq)
{
    json_t *event = json_loadb((const char *)line.p, line.n, 0, NULL);
    if (event && log_matches(f->filter, event)) {
        if (f->lines++ == 0)
            f->first = seq;
        buf_add(&f->body, line);
    }
    f->last = seq;
    json_decref(event);
}

/* Lines that are there now, up to a batch. */
static int gather(struct forward *f, bool *ret_more)
{
    struct slice line;
    struct err e = {0};
    uint64_t seq, gap_from, gap_to;
    int rc = 1;
    f->lines = 0;
    f->last = f->passed;
    buf_reset(&f->body);
    while (f->lines < f->most && f->body.n < BODY_BYTES && !stopped &&
           (rc = log_read_next(f->reader, &line, &seq, &e)) > 0) {
        if (log_read_gap(f->reader, &gap_from, &gap_to))
            fprintf(stderr,
                    "postwain: events %" PRIu64 " to %" PRIu64
                    " were removed from the log before they were forwarded\n",
                    gap_from, gap_to);
        take_line(f, line, seq);
    }
    *ret_more = rc > 0;
    return rc < 0 ? cli_fail(cli_exit_of(rc), "%s", e.text) : CLI_DONE;
}

static void wait_ms(int64_t ms)
{
    const struct mono until = mono_add(mono_now(), ms);
    while (!stopped && !mono_reached(until, mono_now()))
        usleep(50000);
}

/* A batch that is too large for the receiver is gathered again, smaller. */
static bool is_too_large(struct forward *f, int status)
{
    if (status != 413 || f->lines < 2)
        return false;
    f->most = f->lines / 2;
    log_read_free(f->reader);
    f->reader = log_read_since(f->live, f->passed);
    MUST(f->reader);
    return true;
}

enum sent { SENT, AGAIN, GIVEN_UP };

static enum sent send_batch(struct forward *f)
{
    char batch[128];
    int64_t wait_s = 0, pause_s = FIRST_WAIT_S;
    snprintf(batch, sizeof batch, "%.64s-%" PRIu64 "-%" PRIu64, f->node, f->first, f->last);
    for (unsigned tries = 1; !stopped; tries++) {
        struct err e = {0};
        int status = poster_send(f->poster, buf_slice(&f->body), batch, &wait_s, &e);
        if (status / 100 == 2)
            return SENT;
        if (is_too_large(f, status))
            return AGAIN;
        if (stopped || (f->once && tries == ONCE_TRIES)) {
            cli_fail(CLI_PARTLY, "%s: events %" PRIu64 " to %" PRIu64 " are not forwarded", e.text,
                     f->first, f->last);
            return GIVEN_UP;
        }
        if (tries == 1 || tries % 16 == 0) /* a line at first, then one in a quarter of an hour */
            fprintf(stderr, "postwain: %s: event %" PRIu64 " and those behind it wait\n", e.text,
                    f->first);
        wait_ms((wait_s > pause_s ? wait_s : pause_s) * 1000);
        pause_s = 2 * pause_s < LONGEST_WAIT_S ? 2 * pause_s : LONGEST_WAIT_S;
    }
    return GIVEN_UP;
}

static int step(struct forward *f, bool *ret_more)
{
    int rc = gather(f, ret_more);
    if (rc != CLI_DONE)
        return rc;
    if (f->lines > 0) {
        switch (send_batch(f)) {
        case GIVEN_UP:
            return CLI_PARTLY;
        case AGAIN:
            *ret_more = true;
            return CLI_DONE;
        case SENT:
            f->sent += f->lines;
        }
    }
    f->passed = f->last;
    if (f->lines > 0 || mono_reached(mono_add(f->noted_at, NOTE_MS), mono_now()))
        return note_cursor(f);
    return CLI_DONE;
}

static int run(struct forward *f)
{
    int rc = CLI_DONE;
    bool more = true, looked = false;
    while (rc == CLI_DONE && !stopped && (more || !f->once)) {
        rc = step(f, &more);
        if (!more && !looked)
            log_tell_ahead(f->reader, f->passed);
        looked = looked || !more;
        if (!more && !f->once && rc == CLI_DONE)
            wait_ms(LOOK_MS);
    }
    if (rc == CLI_PARTLY && stopped)
        rc = CLI_DONE; /* asked to end: the rest is for the next time */
    int noted = note_cursor(f);
    return rc == CLI_DONE ? noted : rc;
}

/* ---- what is asked ---- */

static int read_secret(const char *path, struct buf *ret)
{
    uint8_t text[FILE_MAX];
    FILE *f = fopen(path, "re");
    if (!f)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    buf_add(ret, slice_trim(slice_of(text, n)));
    if (ret->n >= SECRET_MIN)
        return CLI_DONE;
    return cli_fail(CLI_USAGE, "%s holds fewer than %d octets: openssl rand -hex 32 > FILE", path,
                    SECRET_MIN);
}

static int open_poster(struct forward *f, struct buf *secret)
{
    struct err e = {0};
    int64_t timeout_ms = 30000;
    const char *secret_file = args_value(f->a, "secret-file"),
               *timeout = args_value(f->a, "timeout");
    int rc = secret_file ? read_secret(secret_file, secret) : CLI_DONE;
    if (rc != CLI_DONE)
        return rc;
    if (timeout && (!conf_parse_duration(slice_str(timeout), &timeout_ms) || timeout_ms < 1))
        return args_wrong(f->a, "--timeout: %s is not a duration such as 30s", timeout);
    const struct poster_conf c = {.url = args_value(f->a, "url"),
                                  .secret = buf_slice(secret),
                                  .ca_file = args_value(f->a, "ca-file"),
                                  .timeout_ms = timeout_ms,
                                  .in_clear = args_value(f->a, "in-clear"),
                                  .stop = &stopped};
    return poster_new(&f->poster, &c, &e) < 0 ? cli_fail(CLI_USAGE, "%s", e.text) : CLI_DONE;
}

static int begin(struct forward *f, struct buf *secret)
{
    int rc = lock_cursor(f->since_file);
    if (rc == CLI_DONE)
        rc = read_cursor(f->since_file, &f->passed);
    if (rc == CLI_DONE)
        rc = open_poster(f, secret);
    if (rc != CLI_DONE)
        return rc;
    f->noted = f->passed;
    f->noted_at = mono_now();
    f->reader = log_read_since(f->live, f->passed);
    MUST(f->reader); /* conf has looked at the path */
    const struct sigaction on = {.sa_handler = on_signal};
    sigaction(SIGTERM, &on, NULL);
    sigaction(SIGINT, &on, NULL);
    return run(f);
}

static int forward(const struct cli_args *a, const struct conf *c, struct log_filter *filter,
                   uint64_t most)
{
    DEFER(buf_done) struct buf secret = BUF_MAX(FILE_MAX);
    struct forward f = {.a = a,
                        .live = c->log_deliveries,
                        .since_file = args_value(a, "since-file"),
                        .node = c->hostname,
                        .filter = filter,
                        .most = most,
                        .once = args_value(a, "once")};
    buf_init(&f.body, 2 * BODY_BYTES);
    int rc = begin(&f, &secret);
    if (a->json)
        printf("{\"sent\":%" PRIu64 ",\"seq\":%" PRIu64 "}\n", f.sent, f.noted);
    poster_free(f.poster);
    log_read_free(f.reader);
    buf_done(&f.body);
    return rc;
}

int verb_forward(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    uint64_t most = LINES;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words || !args_value(&a, "url") || !args_value(&a, "since-file"))
        return args_wrong(&a, "forward needs --url and --since-file");
    if (!args_number(&a, "batch", &most, &rc))
        return rc;
    if (most < 1 || most > LINES_MAX)
        return args_wrong(&a, "--batch is a number from 1 to %d", LINES_MAX);
    struct log_filter *filter = log_filter_new(&a, &rc);
    struct conf *c = filter ? cli_conf(&a, &rc) : NULL;
    if (c)
        rc = forward(&a, c, filter, most);
    conf_unref(c);
    log_filter_free(filter);
    return rc;
}
