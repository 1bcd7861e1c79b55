/* What the delivery log has of one message: every attempt with its time, host, TLS and reply, and
 * what operators did. Read is what was written since it was queued, of that the newest gigabyte; a
 * line is only parsed when the id stands in it. */
#include "relay/base/must.h"
#include "relay/cli/log_read.h"
#include "relay/cli/private.h"

enum { EARLIER_S = 60 }; /* clocks are stepped a little */
#define READ_MAX (UINT64_C(1) << 30)

static struct table *attempts_table(void)
{
    static const struct table_column columns[] = {
        {"TIME", false, false}, {"RECIPIENT", false, true}, {"EVENT", false, false},
        {"HOST", false, true},  {"TLS", false, false},      {"REPLY", false, true}};
    return table_new(columns, sizeof columns / sizeof *columns, term_width());
}

/* "450 4.2.1 mailbox full", or the cause in words where nobody replied, or an operator's reason. */
static void reply_of(struct buf *out, const json_t *event)
{
    const long long code = (long long)json_number(event, "smtp_code");
    const char *const keys[] = {"response", "reason", "error"};
    if (code)
        buf_addf(out, "%lld ", code);
    if (json_text(event, "enhanced_status")[0])
        buf_addf(out, "%s ", json_text(event, "enhanced_status"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_text(event, keys[i])[0]) {
            buf_add_str(out, json_text(event, keys[i]));
            break;
        }
}

static void host_of(struct buf *out, const json_t *event)
{
    buf_add_str(out, json_text(event, "mx_host"));
    if (json_text(event, "mx_ip")[0])
        buf_addf(out, " [%s]", json_text(event, "mx_ip"));
}

static void put_event(struct table *t, const json_t *event)
{
    struct buf reply = BUF_MAX(4096), host = BUF_MAX(1024);
    reply_of(&reply, event);
    host_of(&host, event);
    char time[20]; /* to the second */
    snprintf(time, sizeof time, "%s", json_text(event, "time"));
    const char *const cells[] = {
        time,           json_text(event, "recipient"),   json_text(event, "event"),
        buf_str(&host), json_text(event, "tls_version"), buf_str(&reply)};
    table_row(t, cells);
    buf_done(&reply);
    buf_done(&host);
}

/* Of this message, and after it was taken: that only says that everything behind it is here. */
static json_t *event_of(struct slice line, const char *id, bool *whole)
{
    if (slice_find_slice(line, slice_str(id)) == line.n)
        return NULL;
    json_t *event = json_loadb((const char *)line.p, line.n, 0, NULL);
    if (strcmp(json_text(event, "queue_id"), id) == 0) {
        if (strcmp(json_text(event, "event"), "accepted") != 0)
            return event;
        *whole = true;
    }
    json_decref(event);
    return NULL;
}

static void show_event(struct table *t, struct slice line, const json_t *event, bool json)
{
    if (json) {
        fwrite(line.p, 1, line.n, stdout);
        return;
    }
    if (table_rows(t) == 0)
        putchar('\n');
    put_event(t, event);
}

/* Removed with old files, behind a clock that was set back, or more than is read here. */
static void tell_incomplete(const char *id)
{
    fflush(stdout);
    fprintf(
        stderr,
        "postwain: earlier attempts may be missing here: what was read of the delivery log does "
        "not\nbegin with this message. All that the log has: postwain log --since-seq 0 --id %s\n",
        id);
}

static struct log_read *log_of(const char *log, const json_t *message)
{
    struct wall queued = {0};
    wall_parse_rfc3339(slice_str(json_text(message, "queued_time")), &queued);
    return log_read_from(log, wall_add_s(queued, -EARLIER_S), READ_MAX);
}

void attempts_show(const char *log, const json_t *message, bool json)
{
    const char *id = json_text(message, "queue_id");
    struct log_read *from = log_of(log, message);
    struct slice line;
    struct err e = {0};
    uint64_t seq;
    bool whole = false;
    int rc = 0;
    if (!from)
        return;
    struct table *t = attempts_table();
    while ((rc = log_read_next(from, &line, &seq, &e)) > 0) {
        json_t *event = event_of(line, id, &whole);
        if (event)
            show_event(t, line, event, json);
        json_decref(event);
    }
    table_free(t);
    if (rc < 0)
        cli_fail(CLI_PARTLY, "the attempts are in the delivery log: %s", e.text);
    else if (!whole)
        tell_incomplete(id);
    log_read_free(from);
}
