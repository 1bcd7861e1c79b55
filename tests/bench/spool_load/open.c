/* Opening what lies there, as the daemon does it: the log folded, the scheduler told. */
#include "tests/bench/spool_load/load.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

/* What the heap has given out, its own rounding included. */
static uint64_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static uint64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    unsigned long long kb = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kb = strtoull(line + 8, NULL, 10);
    if (f)
        fclose(f);
    return kb * 1024;
}

void part_open(const struct options *o)
{
    struct err e = {0};
    struct spool_report report;
    struct spooler *s;
    struct spooler_conf c = {
        .path = o->dir,
        .retry = {.pause_s = {60, 300, 900, 1800, 3600, 7200, 14400}, .n = 7, .jitter_percent = 10},
        .lifetime_s = INT64_C(5) * 86400,
        .node = SLICE_LIT("relay.bench.test")};
    uint64_t heap = heap_bytes(), resident = resident_bytes();
    double begun = seconds_now();
    if (spooler_new(&s, &c, &report, &e) < 0)
        die("%s", e.text);
    double took = seconds_now() - begun;
    heap = heap_bytes() - heap;
    resident = resident_bytes() - resident;
    double n = report.messages ? (double)report.messages : 1;
    printf("{\"part\":\"open\",\"messages\":%llu,\"segments\":%llu,\"seconds\":%.3f,"
           "\"heap_bytes_message\":%.1f,\"resident_bytes_message\":%.1f}\n",
           (unsigned long long)report.messages, (unsigned long long)report.segments, took,
           (double)heap / n, (double)resident / n);
    fflush(stdout);
    /* The spool is left as a kill would leave it: an orderly end would write into it. */
    _Exit(0);
}
