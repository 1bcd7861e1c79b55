/* A client that opens and closes connections: bench_flood --port P --source 127.0.0.66 --rate 10000
 * --seconds 10. Each is closed by a reset, so that this host does not run out of ports. Prints one
 * JSON line. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in to = {.sin_family = AF_INET}, from = {.sin_family = AF_INET};
static unsigned long opened, failed;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void open_and_close(void)
{
    int one = 1;
    struct linger reset = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        failed++;
        return;
    }
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    bool made = bind(fd, (struct sockaddr *)&from, sizeof from) == 0 &&
                connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    opened += made;
    failed += !made;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

int main(int argc, char **argv)
{
    double rate = 10000, seconds = 10;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            to.sin_port = htons((uint16_t)strtoul(argv[i + 1], NULL, 10));
        else if (strcmp(argv[i], "--source") == 0)
            inet_pton(AF_INET, argv[i + 1], &from.sin_addr);
        else if (strcmp(argv[i], "--rate") == 0)
            rate = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(argv[i + 1], NULL);
    }
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    const double begun = now_s();
    for (double t = begun; t < begun + seconds; t = now_s()) {
        if ((double)(opened + failed) < (t - begun) * rate)
            open_and_close();
        else
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    printf("{\"opened\": %lu, \"failed\": %lu, \"rate\": %.0f}\n", opened, failed,
           (double)opened / (now_s() - begun));
    return 0;
}
