#include "relay/serve.h"
#include "relay/base/log.h"
#include "relay/house.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

const char serve_help[] =
    "usage: postwain serve [-c FILE]\n"
    "\n"
    "Runs the relay in the foreground. It is ready when it prints `ready` (systemd is told as "
    "well).\n"
    "SIGTERM or SIGINT stop it gracefully, SIGHUP reloads the configuration.\n"
    "\n"
    "  -c FILE   configuration (default: $POSTWAIN_CONFIG, else /etc/postwain/postwain.conf)\n"
    "\n"
    "The program's own log goes to standard error; what became of each mail goes to the delivery "
    "log.\n"
    "Look at a running relay with `postwain status` and `postwain queue`.\n";

/* Tells systemd, when it started us (sd_notify's protocol: one datagram). */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof a.sun_path)
        return;
    memcpy(a.sun_path, path, strlen(path));
    if (a.sun_path[0] == '@')
        a.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a, n) < 0)
        LOG(LV_WARN, "notify", LOG_S("problem", strerror(errno)));
    close(fd);
}

static int parse(int argc, char **argv, const char **ret_conf)
{
    const char *env = getenv("POSTWAIN_CONFIG");
    *ret_conf = env && env[0] ? env : "/etc/postwain/postwain.conf";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(serve_help, stdout);
            return -1;
        }
        if (strcmp(argv[i], "-c") == 0 && i + 1 < argc) {
            *ret_conf = argv[++i];
            continue;
        }
        fprintf(stderr, "postwain serve: unknown argument %s; see postwain serve --help\n",
                argv[i]);
        return 2;
    }
    return 0;
}

/* What to do about the troubles that everybody meets once. */
static void say_hint(int code, const char *conf_path)
{
    static const struct {
        int code;
        const char *hint;
    } hints[] = {
        {-EADDRINUSE, "Another program has that port: `ss -ltnp` shows which. Stop it, or change "
                      "the listener's address."},
        {-EADDRNOTAVAIL, "This machine does not have that address: `ip address` shows which it "
                         "has."},
        {-EWOULDBLOCK, "`postwain status` asks the one that runs, `postwain stop` ends it."},
        {-EACCES, "Ports below 1024 are bound as root (or with CAP_NET_BIND_SERVICE). The files "
                  "must belong to\nthe account that the relay runs as: `user` in the "
                  "configuration, or who starts it."},
    };
    if (access(conf_path, F_OK) < 0)
        fputs("Make one with `postwain init`, or name it with -c FILE or $POSTWAIN_CONFIG.\n",
              stderr);
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (hints[i].code == code)
            fprintf(stderr, "%s\n", hints[i].hint);
}

/* Each connection is one; the soft limit is for programs that use select(2). */
static void raise_descriptors(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur == l.rlim_max)
        return;
    l.rlim_cur = l.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &l);
}

int serve_main(int argc, char **argv)
{
    const char *path;
    int rc = parse(argc, argv, &path);
    if (rc != 0)
        return rc < 0 ? 0 : rc;
    struct house house = {0};
    struct err e = {0};
    raise_descriptors();
    house_hold_reloads();
    rc = house_make(&house, path, &e);
    if (rc == 0) {
        house_watch(&house);
        rc = house_start(&house, &e);
    }
    if (rc < 0) {
        fprintf(stderr, "postwain serve: %s\n", e.text);
        say_hint(e.code, path);
        house_free(&house);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    notify("READY=1");
    house_run(&house);
    notify("STOPPING=1");
    house_free(&house);
    return 0;
}
