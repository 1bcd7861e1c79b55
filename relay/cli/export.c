/*
 * `queue export`: what waits, as files for another host. Rows come message by message: envelope,
 * recipients, content, how the content ended. A message is there when its ID.json is: content
 * first, each under another name until it is synced.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/pair.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_MAX = 1 << 20 };

enum result { EXPORTED, KEPT, SKIPPED, FAILED, RESULTS };
static const char *const result_names[] = {"exported", "kept", "skipped", "failed"};

struct outgoing {
    const struct cli_args *a;
    const char *path;
    int folder;
    char id[QUEUE_ID_SIZE]; /* the message that is coming */
    json_t *envelope, *recipients;
    int content;   /* the new file, or an equal one that is there already: */
    bool existing; /* … compared instead of written */
    uint64_t existing_size, at;
    char problem[PAIR_PROBLEM_SIZE];          /* "": none so far */
    uint64_t counts[RESULTS], bytes, n_rcpts; /* the last two: of what is there now */
    bool hopeless, over; /* the disk is full, …: no use to go on, when this message has come */
};

/* ---- one message ---- */

static void problem(struct outgoing *x, const char *what, const char *why)
{
    if (!x->problem[0])
        snprintf(x->problem, sizeof x->problem, "%.40s: %.140s", what, why);
}

static void trouble(struct outgoing *x, const char *name)
{
    const int code = errno;
    problem(x, name, strerror(code));
    x->hopeless = code == ENOSPC || code == EDQUOT || code == EIO || code == EROFS;
}

static void close_content(struct outgoing *x)
{
    if (x->content >= 0)
        close(x->content);
    x->content = -1;
}

static void open_existing(struct outgoing *x)
{
    char name[PAIR_NAME_SIZE];
    pair_name(name, x->id, PAIR_EML);
    x->existing = true;
    int fd = pair_open(x->folder, name, &x->existing_size);
    if (fd < 0)
        problem(x, name,
                "cannot be read, but its .json is there: take it away, or use another DIR");
    else
        x->content = fd;
}

static void open_new(struct outgoing *x)
{
    char name[PAIR_NAME_SIZE];
    pair_tmp_name(name, x->id, PAIR_EML);
    x->existing = false;
    x->content =
        openat(x->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (x->content < 0)
        trouble(x, name);
}

static void begin(struct outgoing *x, const json_t *row)
{
    char name[PAIR_NAME_SIZE];
    uint64_t id;
    struct stat st;
    MUST(x->content < 0);
    json_decref(x->envelope);
    json_array_clear(x->recipients);
    x->envelope = json_deep_copy(row);
    x->at = 0;
    x->problem[0] = 0;
    x->id[0] = 0;
    if (!queue_id_parse(slice_str(json_text(row, "queue_id")), &id)) {
        problem(x, "the daemon", "sent a message without an id");
        return;
    }
    queue_id_write(id, x->id);
    pair_name(name, x->id, PAIR_JSON);
    if (fstatat(x->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        open_existing(x);
    else
        open_new(x);
}

static bool write_all(int fd, struct slice s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0)
            return false;
        s = slice_skip(s, (size_t)n);
    }
    return true;
}

static bool equal_at(int fd, uint64_t at, struct slice s)
{
    uint8_t there[65536];
    while (s.n) {
        ssize_t n = pread(fd, there, s.n < sizeof there ? s.n : sizeof there, (off_t)at);
        if (n <= 0 || memcmp(there, s.p, (size_t)n) != 0)
            return false;
        s = slice_skip(s, (size_t)n);
        at += (uint64_t)n;
    }
    return true;
}

#define DIFFERS "is there already and differs: take it away, or use another DIR"

static void content(struct outgoing *x, const json_t *row)
{
    DEFER(buf_done) struct buf piece = BUF_MAX(PIECE_MAX);
    if (x->content < 0 || x->problem[0])
        return;
    if (!base64_decode(&piece, slice_str(json_text(row, "data_base64"))))
        problem(x, "the daemon", "sent no base 64");
    else if (x->existing && !equal_at(x->content, x->at, buf_slice(&piece)))
        problem(x, "its .eml", DIFFERS);
    else if (!x->existing && !write_all(x->content, buf_slice(&piece)))
        trouble(x, "its .eml");
    x->at += piece.n;
}

static bool put_name(struct outgoing *x, int fd, enum pair_part part)
{
    char tmp[PAIR_NAME_SIZE], name[PAIR_NAME_SIZE];
    pair_tmp_name(tmp, x->id, part);
    pair_name(name, x->id, part);
    if (fsync(fd) == 0 && renameat(x->folder, tmp, x->folder, name) == 0)
        return true;
    trouble(x, name);
    return false;
}

static void write_envelope(struct outgoing *x, const json_t *file)
{
    char tmp[PAIR_NAME_SIZE];
    pair_tmp_name(tmp, x->id, PAIR_JSON);
    int fd = openat(x->folder, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        trouble(x, tmp);
        return;
    }
    if (json_dumpfd(file, fd, JSON_INDENT(1)) == 0 && write_all(fd, SLICE_LIT("\n")))
        put_name(x, fd, PAIR_JSON);
    else
        trouble(x, tmp);
    close(fd);
}

static void check_existing(struct outgoing *x, const json_t *file)
{
    json_t *there = pair_load(x->folder, x->id, x->problem);
    if (there && (x->at != x->existing_size || !pair_same(there, file)))
        problem(x, "it", DIFFERS);
    json_decref(there);
}

static void take_away_unfinished(const struct outgoing *x)
{
    char tmp[PAIR_NAME_SIZE];
    for (enum pair_part part = PAIR_JSON; part <= PAIR_EML && x->id[0]; part++) {
        pair_tmp_name(tmp, x->id, part);
        unlinkat(x->folder, tmp, 0);
    }
}

static void say_message(const struct outgoing *x, enum result result)
{
    if (x->a->json) {
        json_t *row = json_pack(
            "{s:s, s:s, s:I, s:I}", "queue_id", x->id, "result", result_names[result], "recipients",
            (json_int_t)json_array_size(x->recipients), "size", (json_int_t)x->at);
        if (x->problem[0])
            json_object_set_new(row, "reason", json_string(x->problem));
        print_json_line(NULL, row);
        json_decref(row);
    }
    if (x->problem[0])
        cli_fail(CLI_PARTLY, "%s: not exported: %s", x->id, x->problem);
}

static enum result finish(struct outgoing *x, const char *how)
{
    if (strcmp(how, "gone") == 0)
        return SKIPPED;
    if (strcmp(how, "whole") != 0)
        problem(x, "its content", strcmp(how, "damaged") == 0 ? "is damaged in the spool" : how);
    else if (x->at != (uint64_t)json_number(x->envelope, "size"))
        problem(x, "its content", "is not as long as its size says");
    json_t *file = pair_make(x->envelope, x->recipients);
    if (x->existing && !x->problem[0])
        check_existing(x, file);
    if (!x->existing && !x->problem[0] && put_name(x, x->content, PAIR_EML))
        write_envelope(x, file);
    json_decref(file);
    return x->problem[0] ? FAILED : x->existing ? KEPT : EXPORTED;
}

static void end(struct outgoing *x, const char *how)
{
    const enum result result = finish(x, how);
    x->counts[result]++;
    if (result == EXPORTED || result == KEPT) {
        x->bytes += x->at;
        x->n_rcpts += json_array_size(x->recipients);
    }
    if (result != EXPORTED)
        take_away_unfinished(x);
    close_content(x);
    say_message(x, result);
    x->over = x->hopeless;
}

static bool take_row(void *ctx, const json_t *row)
{
    struct outgoing *x = ctx;
    if (json_object_get(row, "queue_id"))
        begin(x, row);
    else if (json_object_get(row, "recipient"))
        json_array_append_new(x->recipients, json_deep_copy(row));
    else if (json_object_get(row, "data_base64"))
        content(x, row);
    else if (json_object_get(row, "content"))
        end(x, json_text(row, "content"));
    return !x->over;
}

/* ---- the folder ---- */

static int sync_above(const char *path)
{
    DEFER_FREE char *above = slice_dup(slice_str(path));
    size_t n = strlen(above);
    while (n > 1 && above[n - 1] == '/')
        above[--n] = 0;
    char *slash = strrchr(above, '/');
    if (slash)
        slash[slash == above] = 0;
    int fd = open(slash ? above : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int open_folder(const char *path, int *ret_exit)
{
    const bool made = mkdir(path, 0700) == 0;
    int fd = made || errno == EEXIST ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0) {
        *ret_exit = cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
        return -1;
    }
    int rc = made ? sync_above(path) : 0;
    if (rc == 0)
        return fd;
    close(fd);
    *ret_exit = cli_fail(CLI_NOTHING, "%s: cannot be synced: %s", path, strerror(-rc));
    return -1;
}

/* ---- the whole ---- */

static void print_report(const struct outgoing *x)
{
    char bytes[SHOW_SIZE];
    const unsigned long long there = x->counts[EXPORTED] + x->counts[KEPT];
    printf("%llu message%s for %llu recipient%s (%s) in %s", there, plural((int64_t)there),
           (unsigned long long)x->n_rcpts, plural((int64_t)x->n_rcpts),
           show_bytes(bytes, (int64_t)x->bytes), x->path);
    static const char *const words[] = {"", "there already", "left the queue meanwhile", "failed"};
    for (enum result r = KEPT; r < RESULTS; r++)
        if (x->counts[r])
            printf(", %llu %s", (unsigned long long)x->counts[r], words[r]);
    putchar('\n');
}

static int report(const struct outgoing *x, int rc)
{
    if (x->a->json) {
        json_t *done = json_object();
        for (enum result r = EXPORTED; r < RESULTS; r++)
            json_object_set_new(done, result_names[r], json_integer((json_int_t)x->counts[r]));
        json_object_set_new(done, "recipients", json_integer((json_int_t)x->n_rcpts));
        json_object_set_new(done, "bytes", json_integer((json_int_t)x->bytes));
        print_json_line(NULL, done);
        json_decref(done);
    } else {
        print_report(x);
    }
    if (x->counts[FAILED] || (rc != CLI_DONE && x->counts[EXPORTED]))
        return CLI_PARTLY;
    if (rc == CLI_DONE && x->counts[EXPORTED] + x->counts[KEPT] == 0)
        return cli_fail(CLI_NOTHING, "nothing matched");
    return rc;
}

static int run(struct outgoing *x, struct client *c, json_t *filter)
{
    json_t *error = NULL, *done = NULL;
    int rc = client_send(c, "queue.export", json_pack("{s:O}", "filter", filter));
    if (rc == CLI_DONE)
        rc = client_hear(c, take_row, x, &done, &error);
    if (error)
        rc = client_refused(error);
    else if (rc == CLI_DONE && !done)
        rc = cli_fail(CLI_PARTLY,
                      "%s: no use to go on; what was exported is whole. Make room, and "
                      "run the same command again",
                      x->path);
    if (x->content >= 0) /* the daemon went away in the middle of it */
        take_away_unfinished(x);
    close_content(x);
    if (fsync(x->folder) < 0)
        rc = cli_fail(CLI_PARTLY, "%s: cannot be synced: %s", x->path, strerror(errno));
    json_decref(error);
    json_decref(done);
    return report(x, rc);
}

int verb_export(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words < 1 || !a.words[0][0])
        return args_wrong(&a, "name the folder: queue export DIR");
    struct outgoing x = {.a = &a, .path = a.words[0], .content = -1};
    struct cli_args rest = a; /* behind DIR stand ids */
    rest.words++;
    rest.n_words--;
    json_t *filter = filter_of(&rest, &rc);
    if (!filter)
        return rc;
    struct client *c = client_open(&a, &rc);
    x.folder = c ? open_folder(x.path, &rc) : -1;
    if (x.folder >= 0) {
        x.recipients = json_array();
        rc = run(&x, c, filter);
        json_decref(x.envelope);
        json_decref(x.recipients);
        close(x.folder);
    }
    client_free(c);
    json_decref(filter);
    return rc;
}
