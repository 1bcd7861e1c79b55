/*
 * `top`: `status`, live on the whole screen. A page is made in memory, cut to the terminal, and
 * written in one piece, so that nothing flickers. The terminal is given back as it was, however
 * this ends. A daemon that goes away is waited for.
 */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define EVERY_MS 2000
#define EVERY_LEAST_MS 200
#define EVERY_MOST_MS 60000
/* Alternate screen, no cursor; and back. */
#define SCREEN_BEGIN "\033[?1049h\033[?25l"
#define SCREEN_END "\033[?25h\033[?1049l"

struct top {
    struct conf *conf;
    struct client *client; /* NULL: went away */
    struct termios before;
    int64_t every_ms;
};

static volatile sig_atomic_t ended;

static void on_end(int number)
{
    (void)number;
    ended = 1;
}

static void on_resize(int number)
{
    (void)number; /* poll returns, and that draws again */
}

static void catch_signal(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigaction(number, &action, NULL);
}

static bool screen_begin(struct top *t)
{
    if (tcgetattr(STDIN_FILENO, &t->before) < 0)
        return false;
    struct termios raw = t->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* nobody would see the screen that is left behind */
    catch_signal(SIGINT, on_end);
    catch_signal(SIGTERM, on_end);
    catch_signal(SIGHUP, on_end);
    catch_signal(SIGWINCH, on_resize);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs(SCREEN_BEGIN, stdout);
    return true;
}

static void screen_end(const struct top *t)
{
    fputs(SCREEN_END, stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

/* One line of the page, no wider than the screen; what colours it takes no room. */
static void add_line(struct buf *out, struct slice line, unsigned width)
{
    while (line.n) {
        unsigned taken;
        const struct slice text = slice_head(line, slice_find(line, 033));
        const size_t n = term_fit(text, width, &taken);
        buf_add(out, slice_head(text, n));
        if (n < text.n)
            break;
        width -= taken;
        const struct slice escape = slice_skip(line, text.n);
        const size_t end = slice_find(escape, 'm');
        const size_t all = end < escape.n ? end + 1 : end;
        buf_add(out, slice_head(escape, all));
        line = slice_skip(escape, all);
    }
    buf_add_str(out, term_color() ? "\033[0m\033[K" : "\033[K");
}

/* The page and the line of keys at the bottom. */
static void draw(const struct top *t, struct slice page)
{
    const unsigned width = term_width(), height = term_height();
    struct buf out = BUF_MAX(1u << 20);
    buf_add_str(&out, "\033[H");
    for (unsigned row = 1; row < height; row++) {
        add_line(&out, slice_cut(&page, '\n'), width);
        buf_add_str(&out, "\r\n");
    }
    char keys[100];
    snprintf(keys, sizeof keys, "q quit   space now   + - every %.1f s",
             (double)t->every_ms / 1000);
    add_line(&out, slice_str(keys), width);
    fwrite(out.p, 1, out.n, stdout);
    fflush(stdout);
    buf_done(&out);
}

static bool keep_row(void *rows, const json_t *row)
{
    json_keep_row(rows, row);
    return true;
}

/* What the daemon says now, as a page; or that it says nothing. False: there is no daemon. */
static bool make_page(struct top *t, FILE *page)
{
    int rc = CLI_DONE;
    json_t *rows = json_array(), *done = NULL, *error = NULL;
    if (!t->client)
        t->client = client_try(t->conf, &rc);
    if (t->client) {
        client_hush(t->client);
        client_heed(t->client, &ended);
        rc = client_send(t->client, "status", json_object());
        if (rc == CLI_DONE)
            rc = client_hear(t->client, keep_row, rows, &done, &error);
    }
    if (done)
        status_page(page, rows, done, term_height() - 1);
    else
        fprintf(page, "%s\n\nWaiting for the daemon.\n",
                error ? json_text(error, "message") : "The daemon does not answer.");
    const bool there = done != NULL;
    json_decref(rows);
    json_decref(done);
    json_decref(error);
    return there;
}

static void look(struct top *t)
{
    char *text = NULL;
    size_t n = 0;
    FILE *page = open_memstream(&text, &n);
    MUST(page);
    if (!make_page(t, page)) {
        client_free(t->client);
        t->client = NULL;
    }
    fclose(page);
    draw(t, slice_of(text, n));
    free(text);
}

/* False: that was the last key. */
static bool take_key(struct top *t, char key)
{
    if (key == 'q' || key == 'Q')
        return false;
    if (key == '+' && t->every_ms * 2 <= EVERY_MOST_MS)
        t->every_ms *= 2;
    if (key == '-' && t->every_ms / 2 >= EVERY_LEAST_MS)
        t->every_ms /= 2;
    return true;
}

static void watch(struct top *t)
{
    bool go_on = true;
    while (go_on && !ended) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        char key = 0;
        look(t);
        if (poll(&in, 1, (int)t->every_ms) <= 0)
            continue;
        if (read(STDIN_FILENO, &key, 1) <= 0) /* the terminal has gone */
            return;
        go_on = take_key(t, key);
    }
}

int verb_top(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    struct top t = {.every_ms = EVERY_MS};
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    const char *every = args_value(&a, "every");
    if (a.n_words)
        return args_wrong(&a, "top takes no arguments");
    if (every && (!conf_parse_duration(slice_str(every), &t.every_ms) ||
                  t.every_ms < EVERY_LEAST_MS || t.every_ms > EVERY_MOST_MS))
        return args_wrong(&a, "--every takes a duration from 200ms to 60s");
    if (a.json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return args_wrong(&a, "top needs a terminal: a script asks for `status --json`");
    t.client = client_open(&a, &rc); /* here it is told when there is none */
    if (!t.client)
        return rc;
    t.conf = cli_conf(&a, &rc);
    if (t.conf && screen_begin(&t)) {
        watch(&t);
        screen_end(&t);
        rc = CLI_DONE;
    }
    client_free(t.client);
    conf_unref(t.conf);
    return rc;
}
