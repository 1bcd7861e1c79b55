/* The queue in the shape that mailq has had for decades: what people and monitoring read. Times are
 * UTC. */
#include "relay/base/must.h"
#include "relay/cli/sendmail.h"

struct mailq {
    char id[32]; /* of the message whose recipients are being listed */
    uint64_t messages, bytes;
};

/* "Thu Nov 26 07:41:43"; "-" when there is none. */
static void show_time(char text[SHOW_SIZE], const char *time)
{
    char full[WALL_RFC5322_SIZE]; /* Thu, 26 Nov 2026 07:41:43 +0000 */
    struct wall t;
    if (!show_parse_time(time, &t)) {
        snprintf(text, SHOW_SIZE, "-");
        return;
    }
    wall_rfc5322(t, full);
    snprintf(text, SHOW_SIZE, "%.3s %.3s %.2s %.8s", full, full + 8, full + 5, full + 17);
}

/* '*': being delivered, '!': held. */
static char mark_of(const char *state)
{
    return strcmp(state, "active") == 0 ? '*' : strcmp(state, "held") == 0 ? '!' : ' ';
}

static void begin_message(struct mailq *q, struct row *row)
{
    char time[SHOW_SIZE];
    uint64_t bytes = 0;
    slice_u64(slice_str(row_text(row, "size")), INT64_MAX, &bytes);
    show_time(time, row_text(row, "queued_time"));
    if (q->messages++ == 0)
        puts("-Queue ID-----  --Size-- ----Arrival Time---- -Sender/Recipient-------");
    else
        putchar('\n');
    snprintf(q->id, sizeof q->id, "%s", row_text(row, "queue_id"));
    printf("%-13s%c %9llu %-20s ", q->id, mark_of(row_text(row, "state")),
           (unsigned long long)bytes, time);
    const char *sender = row_text(row, "sender");
    print_clean(stdout, sender[0] ? sender : "MAILER-DAEMON");
    putchar('\n');
    q->bytes += bytes;
}

static void give_row(void *ctx, char *text, size_t n)
{
    struct mailq *q = ctx;
    struct row row;
    if (!row_parse(text, n, &row))
        return;
    if (strcmp(row_text(&row, "queue_id"), q->id) != 0)
        begin_message(q, &row);
    const char *reason = row_text(&row, "response");
    if (!reason[0])
        reason = row_text(&row, "error");
    if (reason[0]) {
        printf("%*s(", 4, "");
        print_clean(stdout, reason);
        puts(")");
    }
    printf("%*s", 46, "");
    print_clean(stdout, row_text(&row, "recipient"));
    putchar('\n');
}

static int list(struct client *c)
{
    struct mailq q = {0};
    const int rc = client_ask_text(c, "queue.list", json_object(), give_row, &q, NULL);
    if (rc != CLI_DONE)
        return rc == CLI_UNREACHABLE ? EX_TEMPFAIL : EX_SOFTWARE;
    if (q.messages == 0)
        puts("Mail queue is empty");
    else
        printf("\n-- %llu Kbytes in %llu Request%s.\n", (unsigned long long)(q.bytes + 1023) / 1024,
               (unsigned long long)q.messages, plural((int64_t)q.messages));
    return EX_OK;
}

int mailq(struct conf *conf)
{
    int rc;
    struct client *c = client_try(conf, &rc);
    if (!c && rc == CLI_DENIED)
        return EX_NOPERM;
    if (!c)
        return sendmail_fail(EX_UNAVAILABLE,
                             "%s: the relay is not running, so its queue cannot be listed "
                             "(postwain spool check reads a stopped one)",
                             conf->control_socket);
    rc = list(c);
    client_free(c);
    return rc;
}
