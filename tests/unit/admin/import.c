/* A message that comes in over the control socket. If this breaks, an import lets in what the front
 * door refuses, or loses mail. */
#include "relay/admin/import.h"
#include "relay/base/base64.h"
#include "tests/unit/admin/world.h"

/* ---- what the spooler was given ---- */

static struct {
    pthread_mutex_t lock;
    struct buf content; /* of body file or body */
    char sender[300], user[100], message_id[100], listener[20], actor[64], reason[100], rcpts[2000];
    char tags[300], route[50];
    struct mail_params params;
    struct wall release, by_deadline;
    uint64_t size, expires_s;
    bool eight_bit, delay_told, held, in_file;
    unsigned stores, finished, abandoned;
    int error, body_error;
} given = {.lock = PTHREAD_MUTEX_INITIALIZER, .content = {.max = 8 << 20}};

static void copy(char *to, size_t size, struct slice s)
{
    snprintf(to, size, "%.*s", SLICE_ARG(s));
}

static void see_store(struct spooler_store *s)
{
    const struct envelope *e = &s->envelope;
    given.stores++;
    copy(given.sender, sizeof given.sender, e->sender);
    copy(given.user, sizeof given.user, e->user);
    copy(given.message_id, sizeof given.message_id, e->message_id);
    copy(given.listener, sizeof given.listener, e->listener);
    copy(given.actor, sizeof given.actor, s->actor);
    copy(given.reason, sizeof given.reason, s->reason);
    given.rcpts[0] = 0;
    for (size_t i = 0; i < e->n_rcpts && i < 10; i++) {
        size_t at = strlen(given.rcpts);
        snprintf(given.rcpts + at, sizeof given.rcpts - at, "%.*s|%.*s%s ",
                 SLICE_ARG(e->rcpts[i].address), SLICE_ARG(e->rcpts[i].orcpt),
                 e->rcpts[i].notify == MAIL_NOTIFY_NEVER ? "|never" : "");
    }
    copy(given.tags, sizeof given.tags, e->tags);
    copy(given.route, sizeof given.route, e->route);
    given.params = e->params;
    given.release = e->release;
    given.by_deadline = e->by_deadline;
    given.size = e->size;
    given.expires_s = e->expires_s;
    given.eight_bit = e->eight_bit;
    given.delay_told = e->dsn_delay && !e->dsn_for;
    given.held = s->held;
    given.in_file = !s->body;
    if (s->body)
        buf_add(&given.content, slice_of(s->body->bytes, s->body->n));
    body_unref(s->body);
    s->body = NULL;
    s->error = given.error;
}

static void see_body(struct spooler_body *b)
{
    given.finished += b->step == SPOOLER_BODY_FINISH;
    given.abandoned += b->step == SPOOLER_BODY_ABANDON;
    if (b->step == SPOOLER_BODY_WRITE)
        buf_add(&given.content, buf_slice(&b->bytes));
    buf_done(&b->bytes);
    b->error = b->step == SPOOLER_BODY_ABANDON ? 0 : given.body_error;
}

static const struct port *my_part(struct spooler *s, struct msg *m)
{
    void *v = m;
    const struct port *reply;
    (void)s;
    pthread_mutex_lock(&given.lock);
    if (m->type == SPOOLER_STORE) {
        see_store(v);
        reply = ((struct spooler_store *)v)->reply;
    } else {
        see_body(v);
        reply = ((struct spooler_body *)v)->reply;
    }
    pthread_mutex_unlock(&given.lock);
    if (!reply)
        free(m);
    return reply;
}

/* ---- the client's part ---- */

static void reset(void)
{
    play = my_part;
    pthread_mutex_lock(&given.lock);
    buf_reset(&given.content);
    given.stores = given.finished = given.abandoned = 0;
    given.error = given.body_error = 0;
    pthread_mutex_unlock(&given.lock);
}

#define BEGIN(size)                                                                                \
    "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"a@x.test\",\"expires_s\":3600,"    \
    "\"size\":" #size "}}"
#define RCPT                                                                                       \
    "{\"id\":2,\"verb\":\"import.recipients\",\"args\":{\"recipients\":[{\"recipient\":"           \
    "\"r@y.test\"}]}}"
#define DATA(text) "{\"id\":3,\"verb\":\"import.data\",\"args\":{\"data_base64\":\"" text "\"}}"
#define END "{\"id\":4,\"verb\":\"import.end\"}"

/* What the spooler's thread saw before it answered is ours to look at. */
static struct answer heard(FILE *f)
{
    struct answer a = hear(f);
    pthread_mutex_lock(&given.lock);
    pthread_mutex_unlock(&given.lock);
    return a;
}

static void fine(FILE *f, const char *line)
{
    say(f, line);
    struct answer a = heard(f);
    if (!a.ok)
        fail_msg("%.200s: %s", line, string(a.last, "message"));
    answer_done(&a);
}

static void bad(FILE *f, const char *line, const char *code, const char *words)
{
    say(f, line);
    struct answer a = heard(f);
    assert_false(a.ok);
    assert_string_equal(string(a.last, "code"), code);
    if (!strstr(string(a.last, "message"), words))
        fail_msg("%.200s: %s", line, string(a.last, "message"));
    answer_done(&a);
}

static void send_data(FILE *f, struct slice piece)
{
    DEFER(buf_done) struct buf line = BUF_MAX(2 << 20);
    buf_add_str(&line, "{\"id\":3,\"verb\":\"import.data\",\"args\":{\"data_base64\":\"");
    base64_encode(&line, piece);
    buf_add_str(&line, "\"}}");
    fine(f, buf_str(&line));
}

static uint64_t end_fine(FILE *f)
{
    uint64_t id = 0;
    say(f, END);
    struct answer a = heard(f);
    assert_true(a.ok);
    assert_true(queue_id_parse(slice_str(string(a.last, "queue_id")), &id));
    answer_done(&a);
    return id;
}

static void begin(FILE *f, size_t size)
{
    char line[300];
    snprintf(line, sizeof line,
             "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"expires_s\":77,"
             "\"size\":%zu,\"user\":\"shop\",\"was\":\"0123456789ABC\",\"hold\":true}}",
             size);
    fine(f, line);
}

/* ---- import ---- */

static void test_whole_message(void **state)
{
    (void)state;
    static const char text[] = "Message-ID: <m@x.test>\r\nSubject: \xc3\xbc\r\n\r\n.dot\r\nend\r\n";
    const struct slice message = slice_str(text);
    FILE *f = call();
    uint64_t last = 0;
    for (size_t step = 1; step <= message.n; step++) { /* any split */
        reset();
        begin(f, message.n);
        fine(f, "{\"id\":2,\"verb\":\"import.recipients\",\"args\":{\"recipients\":["
                "{\"recipient\":\"r@y.test\",\"orcpt\":\"rfc822;o@y.test\"},"
                "{\"recipient\":\"R@y.test\"},{\"recipient\":\"r@y.test\"}]}}");
        for (struct slice rest = message; rest.n; rest = slice_skip(rest, step))
            send_data(f, slice_head(rest, step));
        fine(f, "{\"id\":2,\"verb\":\"import.recipients\",\"args\":{\"recipients\":["
                "{\"recipient\":\"postmaster\"}]}}");
        uint64_t id = end_fine(f);
        assert_true(id > last);
        last = id;
        assert_true(slice_eq(buf_slice(&given.content), message));
    }
    assert_int_equal(given.stores, 1);
    assert_string_equal(given.sender, "");
    assert_string_equal(given.user, "shop");
    assert_string_equal(given.message_id, "<m@x.test>");
    assert_string_equal(given.listener, "import");
    assert_string_equal(given.reason, "imported, was 0123456789ABC");
    assert_true(given.actor[0]);
    assert_string_equal(given.rcpts, "r@y.test|rfc822;o@y.test R@y.test| pm@relay.example| ");
    assert_int_equal(given.expires_s, 77);
    assert_int_equal(given.size, message.n);
    assert_true(given.eight_bit && given.held && !given.in_file && !given.delay_told);
    fclose(f);
}

/* What MAIL and RCPT asked for there counts here. */
static void test_asked(void **state)
{
    (void)state;
    FILE *f = call();
    reset();
    fine(f, "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"a@x.test\","
            "\"expires_s\":77,\"size\":6,\"body\":\"8BITMIME\",\"ret\":\"HDRS\",\"by\":\"N\","
            "\"by_trace\":true,\"deadline\":\"2030-01-02T03:04:05.000006Z\",\"release\":"
            "\"2029-01-02T03:04:05Z\",\"smtputf8\":true,\"requiretls\":true,\"tls_optional\":"
            "true,\"priority\":-4,\"tags\":{\"a\":\"1\",\"b\":\"2\"},\"route\":\"smart\",\"delay_"
            "told\":true}}");
    fine(f, "{\"id\":2,\"verb\":\"import.recipients\",\"args\":{\"recipients\":["
            "{\"recipient\":\"r@y.test\",\"notify\":\"NEVER\"}]}}");
    send_data(f, SLICE_LIT("abcd\r\n"));
    end_fine(f);
    const struct mail_params *p = &given.params;
    assert_true(p->body == MAIL_BODY_8BITMIME && p->ret == MAIL_RET_HDRS);
    assert_true(p->by == MAIL_BY_NOTIFY && p->by_trace && p->smtputf8 && p->requiretls);
    assert_true(p->tls_optional && p->priority == -4 && given.delay_told);
    assert_string_equal(given.tags, "a=1\nb=2");
    assert_string_equal(given.route, "smart");
    assert_string_equal(given.rcpts, "r@y.test||never ");
    assert_true(given.by_deadline.us % WALL_SECOND == 6);
    assert_int_equal((given.by_deadline.us - given.release.us) / WALL_SECOND, 365 * 86400);
    fclose(f);
}

/* What only those who asked for it may have: addresses beyond ASCII, content without lines. */
static void test_beyond_ascii_and_lines(void **state)
{
    (void)state;
    static const uint8_t content[] = {'a', '\n', 0, '\r', 0xff, '\r'};
    FILE *f = call();
    for (int asked = 0; asked <= 1; asked++) {
        reset();
        fine(f,
             asked ? "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\xc3\xb6@x.test\","
                     "\"expires_s\":77,\"size\":6,\"body\":\"BINARYMIME\",\"smtputf8\":true}}"
                   : "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"o@x.test\","
                     "\"expires_s\":77,\"size\":6,\"body\":\"8BITMIME\"}}");
        say(f, "{\"id\":2,\"verb\":\"import.recipients\",\"args\":{\"recipients\":["
               "{\"recipient\":\"j\xc3\xb6rg@y.test\",\"orcpt\":\"utf-8;\xc3\xa4@z.test\"}]}}");
        struct answer a = heard(f);
        assert_int_equal(a.ok, asked);
        answer_done(&a);
        if (!asked)
            continue;
        send_data(f, slice_of(content, sizeof content));
        end_fine(f);
        assert_string_equal(given.rcpts, "j\xc3\xb6rg@y.test|utf-8;\xc3\xa4@z.test ");
        assert_true(slice_eq(buf_slice(&given.content), slice_of(content, sizeof content)));
    }
    fclose(f);
}

/* A megabyte of lines, a dot at the start of some. */
static struct buf large(void)
{
    struct buf b = BUF_MAX(2 << 20);
    buf_add_str(&b, "Subject: large\r\n\r\n");
    for (unsigned i = 0; b.n < 1000000; i++)
        buf_addf(&b, "%sline %u of many\r\n", i % 7 ? "" : ".", i);
    return b;
}

static void test_large(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf message = large();
    static const size_t steps[] = {100000, 262144, 700000, 1};
    FILE *f = call();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        reset();
        begin(f, message.n);
        fine(f, RCPT);
        size_t step = steps[i];
        for (struct slice rest = buf_slice(&message); rest.n; rest = slice_skip(rest, step)) {
            if (steps[i] == 1 && rest.n < message.n)
                step = 600000; /* one byte, then the rest */
            send_data(f, slice_head(rest, step));
        }
        end_fine(f);
        assert_true(slice_eq(buf_slice(&given.content), buf_slice(&message)));
        assert_true(given.in_file && given.finished == 1 && given.stores == 1 &&
                    given.abandoned == 0);
        assert_int_equal(given.size, message.n);
    }
    fclose(f);
}

static unsigned wait_abandoned(void)
{
    unsigned n = 0;
    for (int i = 0; i < 6000 && n == 0; i++) {
        usleep(10000);
        pthread_mutex_lock(&given.lock);
        n = given.abandoned;
        pthread_mutex_unlock(&given.lock);
    }
    return n;
}

/* What was begun and not ended leaves no file behind. */
static void test_given_up(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf message = large();
    for (int way = 0; way < 3; way++) {
        FILE *f = call();
        reset();
        begin(f, message.n);
        fine(f, RCPT);
        send_data(f, slice_head(buf_slice(&message), 500000));
        if (way == 0) { /* another one is begun */
            fine(f, BEGIN(9));
        } else if (way == 1) { /* refused */
            bad(f, DATA("YQpi"), "refused", "LF without CR");
            bad(f, END, "usage", "import.begin comes first");
        }
        fclose(f); /* gone */
        assert_int_equal(wait_abandoned(), 1);
        assert_int_equal(given.stores, 0);
    }
}

/* One refusal costs one message: the next one is taken on the same connection. */
static void test_refused(void **state)
{
    (void)state;
#define RCPTS(list) "{\"id\":2,\"verb\":\"import.recipients\",\"args\":{\"recipients\":" list "}}"
    static const struct {
        const char *lines[3], *words;
    } rows[] = {
        {{END}, ""},
        {{BEGIN(6), END}, "no recipient"},
        {{BEGIN(6), RCPT, END}, "shorter"},
        {{BEGIN(2), RCPT, DATA("YWJj")}, "longer"},
        {{BEGIN(6), DATA("YWI"), NULL}, "base 64"},
        {{BEGIN(6), DATA("YQ0KDQ=="), NULL}, ""}, /* fine so far */
        {{BEGIN(6), DATA("YQpi"), NULL}, "LF without CR"},
        {{BEGIN(6), DATA("YQ1i"), NULL}, "CR without LF"},
        {{BEGIN(9999999)}, "max-message-size"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"\"}]")}, "no address"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\"},{\"recipient\":\"x y@b.test\"}]")},
         "no address"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"<a@b.test>\"}]")}, "no address"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\\r\\n\"}]")}, "no address"},
        {{BEGIN(6), RCPTS("[7]")}, "is an object"},
        {{BEGIN(6), RCPTS("[{\"orcpt\":\"rfc822;x\"}]")}, "is an object"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\",\"orcpt\":\"x\\u0001;y\"}]")}, "orcpt"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\",\"orcpt\":\";y\"}]")}, "orcpt"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\",\"orcpt\":\"utf-8;\\u0085\"}]")}, "orcpt"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\",\"orcpt\":\"rfc822;\\u00f6\"}]")}, "orcpt"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\",\"notify\":\"NEVER,DELAY\"}]")}, "notify"},
        {{BEGIN(6), RCPTS("[{\"recipient\":\"a@b.test\",\"notify\":1}]")}, "is an object"},
        {{"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"expires_s\":1,"
          "\"size\":1,\"by\":\"R\"}}"},
         "by and deadline"},
        {{"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"a b@x\",\"expires_s\":1,"
          "\"size\":1}}"},
         "sender"},
        {{"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"expires_s\":1,"
          "\"size\":1,\"was\":\"../x\"}}"},
         "queue id"},
        {{"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"expires_s\":1,"
          "\"size\":1,\"user\":\"a\\u0007\"}}"},
         "user"},
    };
    FILE *f = call();
    reset();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer a = {0};
        for (size_t k = 0; k < 3 && rows[i].lines[k]; k++) {
            answer_done(&a);
            say(f, rows[i].lines[k]);
            a = heard(f);
            if (!a.ok)
                break;
        }
        if (rows[i].words[0]) {
            assert_false(a.ok);
            assert_string_equal(string(a.last, "code"), "refused");
            if (!strstr(string(a.last, "message"), rows[i].words))
                fail_msg("%zu: %s", i, string(a.last, "message"));
            bad(f, RCPT, "usage", "import.begin comes first");
        }
        answer_done(&a);
    }
    assert_int_equal(given.stores, 0);
    begin(f, 3);
    fine(f, RCPT);
    fine(f, DATA("YQ0K"));
    end_fine(f);
    assert_int_equal(given.stores, 1);
    fclose(f);
}

static void test_limit_of_recipients(void **state)
{
    (void)state;
    FILE *f = call();
    reset();
    begin(f, 3);
    for (unsigned i = 0; i <= 10; i++) {
        DEFER(buf_done) struct buf line = BUF_MAX(1 << 20);
        buf_add_str(&line, "{\"id\":2,\"verb\":\"import.recipients\",\"args\":{\"recipients\":[");
        for (unsigned k = 0; k < 100; k++)
            buf_addf(&line, "%s{\"recipient\":\"u%u.%u@y.test\"}", k ? "," : "", i, k);
        buf_add_str(&line, "]}}");
        if (i < 10)
            fine(f, buf_str(&line));
        else
            bad(f, buf_str(&line), "refused", "max-recipients");
    }
    fclose(f);
}

/* The disk's trouble is not the message's fault: a client must know that it can come again. */
static void test_not_now(void **state)
{
    (void)state;
    static const struct {
        int error;
        const char *words;
    } rows[] = {{-ENOSPC, "full"}, {-ETIMEDOUT, "too slow"}, {-EIO, "could not be stored"}};
    DEFER(buf_done) struct buf message = large();
    FILE *f = call();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reset();
        given.error = rows[i].error;
        begin(f, 3);
        fine(f, RCPT);
        fine(f, DATA("YQ0K"));
        bad(f, END, "unavailable", rows[i].words);
        reset();
        given.body_error = rows[i].error;
        begin(f, message.n);
        fine(f, RCPT);
        DEFER(buf_done) struct buf line = BUF_MAX(2 << 20);
        buf_add_str(&line, "{\"id\":3,\"verb\":\"import.data\",\"args\":{\"data_base64\":\"");
        base64_encode(&line, slice_head(buf_slice(&message), 600000));
        buf_add_str(&line, "\"}}");
        bad(f, buf_str(&line), "unavailable", rows[i].words);
        assert_int_equal(given.abandoned, 0); /* after an error the file is gone */
    }
    atomic_store(&spooler.full, true);
    bad(f, BEGIN(6), "unavailable", "min-free");
    atomic_store(&spooler.full, false);
    atomic_store(&drains, 1);
    bad(f, BEGIN(6), "unavailable", "drains");
    atomic_store(&drains, 0);
    fclose(f);
}

/* ---- submit ---- */

static void give(FILE *f, struct slice message)
{
    DEFER(buf_done) struct buf begin = BUF_MAX(1000);
    buf_addf(
        &begin,
        "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"a@x.test\",\"submit\":true,"
        "\"user\":\"somebody else\",\"size\":%zu}}",
        message.n);
    fine(f, buf_str(&begin));
    fine(f, RCPT);
    for (; message.n; message = slice_skip(message, 300000)) {
        DEFER(buf_done) struct buf line = BUF_MAX(1 << 20);
        buf_add_str(&line, "{\"id\":3,\"verb\":\"import.data\",\"args\":{\"data_base64\":\"");
        base64_encode(&line, slice_head(message, 300000));
        buf_add_str(&line, "\"}}");
        fine(f, buf_str(&line));
    }
}

/* A program's message is mended and marked as the front door would, and is its account's. */
static void test_submitted(void **state)
{
    (void)state;
    FILE *f = call();
    reset();
    give(f, SLICE_LIT("Subject: s\r\nBcc: x@y.test\r\nX-Postwain-Tag: k=v\r\n\r\nbody\r\n"));
    fine(f, END);
    const char *content = buf_str(&given.content);
    assert_ptr_equal(strstr(content, "Received: by "), content);
    assert_non_null(strstr(content, "\r\nDate: "));
    assert_non_null(strstr(content, "\r\nFrom: <a@x.test>\r\n"));
    assert_non_null(strstr(content, given.message_id));
    assert_true(strlen(given.message_id) > 10);
    assert_non_null(strstr(content, "\r\nSubject: s\r\n\r\nbody\r\n"));
    assert_null(strstr(content, "Bcc"));
    assert_null(strstr(content, "Tag"));
    assert_string_equal(given.listener, "sendmail");
    assert_string_equal(given.user, given.actor);
    assert_int_equal(given.size, strlen(content));
    assert_int_equal(given.expires_s, 0);
    fclose(f);
}

/* The field in front also when the body goes to a file, in pieces. */
static void test_submitted_large(void **state)
{
    (void)state;
    FILE *f = call();
    reset();
    DEFER(buf_done) struct buf message = BUF_MAX(1 << 20);
    buf_add_str(&message, "Subject: s\r\n\r\n");
    while (message.n < 700000)
        buf_add_str(&message, "0123456789\r\n");
    give(f, buf_slice(&message));
    fine(f, END);
    assert_true(given.in_file);
    assert_int_equal(given.size, given.content.n);
    const struct slice content = buf_slice(&given.content),
                       body = slice_skip(buf_slice(&message), 12);
    assert_true(slice_starts(content, SLICE_LIT("Received: by ")));
    assert_true(content.n > message.n && content.n < message.n + 1000);
    assert_true(slice_eq(slice_skip(content, content.n - body.n), body));
    fclose(f);
}

static void test_submitted_refused(void **state)
{
    (void)state;
    FILE *f = call();
    reset();
    give(f, SLICE_LIT("From: a@x.test\r\nFrom: b@x.test\r\n\r\n"));
    bad(f, END, "refused", "more than one From");
    DEFER(buf_done) struct buf message = BUF_MAX(1 << 20);
    for (int i = 0; i < 51; i++)
        buf_add_str(&message, "Received: x\r\n");
    give(f, buf_slice(&message));
    bad(f, END, "refused", "the limit is: 50");
    assert_int_equal(given.stores, 0);
    bad(f, "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"size\":1}}", "usage",
        "without submit");
    bad(f,
        "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"size\":1,\"submit\":true,"
        "\"tags\":{\"k\":\"v\"}}}",
        "refused", "X-Postwain-Tag");
    fine(f, "{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"a@x.test\",\"size\":1,"
            "\"submit\":true}}");
    fclose(f);
}

/* Checklist 104: another host may take larger header sections than ours; what it took moves whole,
 * and the log knows its Message-ID. A program's own is held to the limit. */
static void test_long_header(void **state)
{
    (void)state;
    FILE *f = call();
    for (size_t i = 0; i < 2; i++) {
        DEFER(buf_done) struct buf message = BUF_MAX(1 << 20);
        while (message.n < (i ? IMPORT_HEADER_MAX : IMPORT_HEADER_MAX * 3u / 4))
            buf_add_str(&message, "X-Pad: 0123456789012345678901234567890123456789\r\n");
        buf_add_str(&message, "Message-ID: <late@x.test>\r\n\r\nbody \xc3\xbc\r\n");
        reset();
        begin(f, message.n);
        fine(f, RCPT);
        for (struct slice rest = buf_slice(&message); rest.n; rest = slice_skip(rest, 100000))
            send_data(f, slice_head(rest, 100000));
        end_fine(f);
        assert_true(slice_eq(buf_slice(&given.content), buf_slice(&message)));
        assert_string_equal(given.message_id, i ? "" : "<late@x.test>");
        give(f, buf_slice(&message));
        bad(f, END, "refused", "header section");
    }
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_message),
        cmocka_unit_test(test_long_header),
        cmocka_unit_test(test_asked),
        cmocka_unit_test(test_beyond_ascii_and_lines),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limit_of_recipients),
        cmocka_unit_test(test_submitted),
        cmocka_unit_test(test_submitted_large),
        cmocka_unit_test(test_submitted_refused),
        cmocka_unit_test(test_not_now),
    };
    int rc = run_with_admin(tests, sizeof tests / sizeof *tests);
    buf_done(&given.content);
    return rc;
}
