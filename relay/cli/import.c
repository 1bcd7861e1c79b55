/*
 * `queue import`: what `queue export` wrote goes into this daemon's queue, oldest first. Several
 * messages are on their way at once, each over a connection of its own, so that they share a sync
 * of the spool. When the daemon has one durably, its files go to DIR/imported, and only then is it
 * told: an interrupted import goes on where it was.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/pair.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMPORTED "imported"

enum { LANES = 16, RCPTS_STEP = 100, PIECE_BYTES = 192 * 1024 };

struct lane {
    struct client *client;
    char id[QUEUE_ID_SIZE];
    char problem[PAIR_PROBLEM_SIZE];
    uint64_t size, recipients, redirected;
    char queue_id[QUEUE_ID_SIZE]; /* here; "" until it is durable */
};

struct pair {
    uint64_t id;
    unsigned parts; /* enum pair_part */
};

struct import {
    const struct cli_args *a;
    const char *path;
    int folder, imported;
    struct pair *pairs;
    size_t n, at;
    struct lane lanes[LANES];
    size_t n_lanes;
    uint64_t done, refused, settled, bytes,
        recipients; /* settled: only put aside, imported earlier */
    int stopped;    /* CLI_DONE, or the exit code for which it ends */
};

/* ---- what is there ---- */

static int compare(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The two parts of one message become one. */
static void join(struct import *m)
{
    size_t n = 0;
    if (m->n)
        qsort(m->pairs, m->n, sizeof *m->pairs, compare);
    for (size_t i = 0; i < m->n; i++) {
        if (n && m->pairs[n - 1].id == m->pairs[i].id)
            m->pairs[n - 1].parts |= m->pairs[i].parts;
        else
            m->pairs[n++] = m->pairs[i];
    }
    m->n = n;
}

/* 16 bytes a file are kept: a queue of a million messages takes 32 MB here. */
static int look(struct import *m)
{
    int fd = openat(m->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return cli_fail(cli_exit_of(errno), "%s: %s", m->path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(d));) {
        uint64_t id;
        const enum pair_part part = pair_part_of(entry->d_name, &id);
        if (part == PAIR_NONE)
            continue;
        if ((m->n & (m->n - 1)) == 0)
            m->pairs = must_realloc(m->pairs, (m->n ? 2 * m->n : 1) * sizeof *m->pairs);
        m->pairs[m->n++] = (struct pair){id, part};
    }
    closedir(d);
    join(m);
    return CLI_DONE;
}

/* ---- one message to the daemon ---- */

static bool is_refusal(const json_t *error)
{
    const char *code = json_text(error, "code");
    return strcmp(code, "refused") == 0 || strcmp(code, "usage") == 0;
}

/* The answer to the last step. False: the message was refused, or all is over. */
static bool hear(struct import *m, struct lane *l, json_t **ret_done)
{
    json_t *error = NULL;
    m->stopped = client_hear(l->client, NULL, NULL, ret_done, &error);
    const bool ok = m->stopped == CLI_DONE && !error;
    if (error && is_refusal(error))
        snprintf(l->problem, sizeof l->problem, "%.150s", json_text(error, "message"));
    else if (error)
        m->stopped = client_refused(error);
    json_decref(error);
    return ok;
}

static bool step(struct import *m, struct lane *l, const char *verb, json_t *args)
{
    MUST(args);
    m->stopped = client_send(l->client, verb, args);
    return m->stopped == CLI_DONE && hear(m, l, NULL);
}

static bool send_recipients(struct import *m, struct lane *l, const json_t *list)
{
    json_t *some = json_array();
    const json_t *one;
    size_t i;
    bool ok = true;
    json_array_foreach(list, i, one)
    {
        json_t *r = json_pack("{s:s}", "recipient", json_text(one, "recipient"));
        if (json_text(one, "orcpt")[0])
            json_object_set_new(r, "orcpt", json_string(json_text(one, "orcpt")));
        if (json_text(one, "notify")[0])
            json_object_set_new(r, "notify", json_string(json_text(one, "notify")));
        json_array_append_new(some, r);
        const bool full = json_array_size(some) == RCPTS_STEP || i + 1 == json_array_size(list);
        if (!full)
            continue;
        ok = step(m, l, "import.recipients", json_pack("{s:O}", "recipients", some));
        json_decref(some);
        some = json_array();
        if (!ok)
            break;
    }
    json_decref(some);
    return ok;
}

static bool send_piece(struct import *m, struct lane *l, struct slice piece)
{
    DEFER(buf_done) struct buf text = BUF_MAX(PIECE_BYTES / 3 * 4 + 4);
    MUST(base64_encode(&text, piece));
    return step(m, l, "import.data",
                json_pack("{s:s%}", "data_base64", (const char *)text.p, text.n));
}

static bool send_content(struct import *m, struct lane *l, int fd)
{
    DEFER_FREE uint8_t *bytes = must_alloc(PIECE_BYTES);
    for (uint64_t sent = 0; sent < l->size;) {
        size_t want = l->size - sent < PIECE_BYTES ? (size_t)(l->size - sent) : PIECE_BYTES, n = 0;
        for (ssize_t got = 1; n < want && got > 0; n += got > 0 ? (size_t)got : 0)
            got = read(fd, bytes + n, want - n);
        if (n < want) {
            snprintf(l->problem, sizeof l->problem, "its .eml cannot be read whole");
            return false;
        }
        if (!send_piece(m, l, slice_of(bytes, n)))
            return false;
        sent += n;
    }
    return true;
}

static int open_content(struct import *m, struct lane *l)
{
    char name[PAIR_NAME_SIZE];
    uint64_t size;
    pair_name(name, l->id, PAIR_EML);
    int fd = pair_open(m->folder, name, &size);
    if (fd < 0) {
        snprintf(l->problem, sizeof l->problem, "%s: %s", name,
                 fd == -EINVAL || fd == -ELOOP ? "is not a file" : strerror(-fd));
    } else if (size != l->size) {
        snprintf(l->problem, sizeof l->problem, "%s has %llu octets, its envelope says %llu", name,
                 (unsigned long long)size, (unsigned long long)l->size);
        close(fd);
        fd = -1;
    }
    return fd;
}

/* By an operator, to a destination of the other host's configuration. */
static uint64_t count_redirected(const json_t *list)
{
    const json_t *one;
    size_t i;
    uint64_t n = 0;
    json_array_foreach(list, i, one) n += json_text(one, "redirected")[0] != 0;
    return n;
}

static void send_message(struct import *m, struct lane *l, const json_t *file)
{
    const json_t *list = json_object_get(file, "recipients");
    l->size = (uint64_t)json_number(file, "size");
    l->recipients = json_array_size(list);
    l->redirected = count_redirected(list);
    int fd = open_content(m, l);
    if (fd < 0)
        return;
    const bool hold = args_value(m->a, "hold") != NULL;
    if (step(m, l, "import.begin", pair_begin(file, wall_now(), hold)) &&
        send_recipients(m, l, list) && send_content(m, l, fd))
        m->stopped = client_send(l->client, "import.end", json_object());
    close(fd);
}

/* ---- a message's files ---- */

static bool is_imported(const struct import *m, const char *id)
{
    char name[PAIR_NAME_SIZE];
    struct stat st;
    pair_name(name, id, PAIR_JSON);
    return fstatat(m->imported, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The .json first: when only the .eml is left here, the rest of the move is all that is left. */
static void put_aside(struct import *m, const char *id, unsigned parts)
{
    char name[PAIR_NAME_SIZE];
    for (enum pair_part part = PAIR_JSON; part <= PAIR_EML && m->stopped == CLI_DONE; part++) {
        pair_name(name, id, part);
        if ((parts & part) && renameat(m->folder, name, m->imported, name) < 0)
            m->stopped = cli_fail(CLI_NOTHING,
                                  "%s/%s is imported and cannot be put aside: %s: take it away "
                                  "yourself, or it is imported again",
                                  m->path, name, strerror(errno));
    }
}

/* True: the lane's message is on its way, or refused. */
static bool begin(struct import *m, struct lane *l, const struct pair *p)
{
    queue_id_write(p->id, l->id);
    l->problem[0] = l->queue_id[0] = 0;
    const bool before = is_imported(m, l->id);
    if (before && p->parts == PAIR_EML) {
        put_aside(m, l->id, p->parts);
        m->settled += m->stopped == CLI_DONE;
        return false;
    }
    if (before) {
        snprintf(l->problem, sizeof l->problem,
                 "it is in " IMPORTED " already: was it imported "
                 "before? Take that one away to import it again");
        return true;
    }
    json_t *file = pair_load(m->folder, l->id, l->problem);
    if (file)
        send_message(m, l, file);
    json_decref(file);
    return true;
}

/* ---- rounds ---- */

static void say(const struct import *m, const struct lane *l)
{
    if (m->a->json) {
        json_t *row = json_pack("{s:s, s:s}", "was", l->id, "result",
                                l->queue_id[0] ? "imported" : "refused");
        if (l->queue_id[0]) {
            json_object_set_new(row, "queue_id", json_string(l->queue_id));
            json_object_set_new(row, "recipients", json_integer((json_int_t)l->recipients));
            json_object_set_new(row, "size", json_integer((json_int_t)l->size));
            if (l->redirected)
                json_object_set_new(row, "redirected_recipients",
                                    json_integer((json_int_t)l->redirected));
        } else {
            json_object_set_new(row, "reason", json_string(l->problem));
        }
        print_json_line(NULL, row);
        json_decref(row);
    } else if (l->queue_id[0]) {
        printf("%s is now %s\n", l->id, l->queue_id);
    }
    if (l->queue_id[0] && l->redirected)
        fprintf(stderr,
                "postwain: %s: %llu of its recipients had been redirected there, and go the usual "
                "way here:\nsee %s.json in " IMPORTED ", and postwain queue redirect --help\n",
                l->queue_id, (unsigned long long)l->redirected, l->id);
    if (l->problem[0])
        cli_fail(CLI_PARTLY, "%s: not imported: %s", l->id, l->problem);
}

/* What was sent whole is asked for, whatever became of the others. */
static void end(struct import *m, struct lane *l)
{
    json_t *done = NULL;
    const int stopped = m->stopped;
    if (stopped != CLI_DONE) /* why has been said */
        client_hush(l->client);
    if (hear(m, l, &done)) {
        snprintf(l->queue_id, sizeof l->queue_id, "%s", json_text(done, "queue_id"));
        put_aside(m, l->id, PAIR_JSON | PAIR_EML);
        m->done++;
        m->bytes += l->size;
        m->recipients += l->recipients;
    }
    json_decref(done);
    if (stopped != CLI_DONE)
        m->stopped = stopped;
}

static void send_some(struct import *m)
{
    bool sent[LANES] = {0};
    size_t n = 0;
    while (n < m->n_lanes && m->at < m->n && m->stopped == CLI_DONE) {
        struct lane *l = &m->lanes[n];
        const bool used = begin(m, l, &m->pairs[m->at]);
        sent[n] = used && !l->problem[0] && m->stopped == CLI_DONE;
        m->at += m->stopped == CLI_DONE;
        n += used;
    }
    for (size_t i = 0; i < n; i++)
        if (sent[i])
            end(m, &m->lanes[i]);
    if ((fsync(m->folder) < 0 || fsync(m->imported) < 0) && m->stopped == CLI_DONE)
        m->stopped = cli_fail(CLI_NOTHING, "%s: cannot be synced: %s", m->path, strerror(errno));
    for (size_t i = 0; i < n; i++) {
        m->refused += m->lanes[i].problem[0] != 0;
        if (m->lanes[i].problem[0] || m->lanes[i].queue_id[0])
            say(m, &m->lanes[i]);
    }
    fflush(stdout); /* whoever kills us knows what was done */
}

static int report(const struct import *m)
{
    char bytes[SHOW_SIZE];
    const unsigned long long done = m->done, refused = m->refused,
                             left = m->n - done - refused - m->settled;
    if (m->a->json) {
        json_t *row =
            json_pack("{s:I, s:I, s:I, s:I, s:I}", "imported", (json_int_t)done, "refused",
                      (json_int_t)refused, "left", (json_int_t)left, "recipients",
                      (json_int_t)m->recipients, "bytes", (json_int_t)m->bytes);
        print_json_line(NULL, row);
        json_decref(row);
    } else {
        printf("%llu message%s for %llu recipient%s imported (%s), %llu refused\n", done,
               plural((int64_t)done), (unsigned long long)m->recipients,
               plural((int64_t)m->recipients), show_bytes(bytes, (int64_t)m->bytes), refused);
    }
    if (m->stopped != CLI_DONE) {
        cli_fail(CLI_PARTLY, "%llu done, %llu left; run the same command again", done, left);
        return done ? CLI_PARTLY : m->stopped;
    }
    return refused == 0 ? CLI_DONE : done ? CLI_PARTLY : CLI_NOTHING;
}

/* ---- the whole ---- */

/* More connections than one are a matter of speed only. */
static void open_lanes(struct import *m)
{
    for (m->n_lanes = 1; m->n_lanes < LANES && m->n_lanes < m->n; m->n_lanes++) {
        int rc;
        m->lanes[m->n_lanes].client = client_again(m->lanes[0].client, &rc);
        if (!m->lanes[m->n_lanes].client)
            break;
    }
}

static int open_folders(struct import *m)
{
    m->folder = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->folder < 0)
        return cli_fail(cli_exit_of(errno), "%s: %s", m->path, strerror(errno));
    if (flock(m->folder, LOCK_EX | LOCK_NB) < 0)
        return cli_fail(CLI_NOTHING, "%s: another import is at work there", m->path);
    if (mkdirat(m->folder, IMPORTED, 0700) < 0 && errno != EEXIST)
        return cli_fail(cli_exit_of(errno), "%s/" IMPORTED ": %s", m->path, strerror(errno));
    m->imported = openat(m->folder, IMPORTED, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (m->imported < 0)
        return cli_fail(cli_exit_of(errno), "%s/" IMPORTED ": %s", m->path, strerror(errno));
    return CLI_DONE;
}

static int run(struct import *m)
{
    int rc = open_folders(m);
    if (rc == CLI_DONE)
        rc = look(m);
    if (rc != CLI_DONE)
        return rc;
    if (m->n == 0)
        return cli_fail(CLI_NOTHING, "%s holds no messages to import", m->path);
    m->lanes[0].client = client_open(m->a, &rc);
    if (!m->lanes[0].client)
        return rc;
    open_lanes(m);
    while (m->at < m->n && m->stopped == CLI_DONE)
        send_some(m);
    return report(m);
}

int verb_import(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words != 1 || !a.words[0][0])
        return args_wrong(&a, "name the folder: queue import DIR");
    struct import m = {.a = &a, .path = a.words[0], .folder = -1, .imported = -1};
    rc = run(&m);
    for (size_t i = 0; i < LANES; i++)
        client_free(m.lanes[i].client);
    if (m.folder >= 0)
        close(m.folder);
    if (m.imported >= 0)
        close(m.imported);
    free(m.pairs);
    return rc;
}
