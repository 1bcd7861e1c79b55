/* Mail delivered at once: what is written for each byte of a body, from the store to the done-mark
 * and the orderly close. */
#include "tests/bench/spool_load/load.h"
#include <stdio.h>

void part_amplify(const struct options *o)
{
    struct house *h = house_new(o->dir, true);
    struct turn t = {.writers = o->writers, .size = o->size, .messages = o->messages / 10 + 1};
    struct turn_result warm = house_turn(h, &t); /* the first segment is made */
    turn_result_done(&warm);
    struct io_count before = io_now();
    t.messages = o->messages;
    struct turn_result r = house_turn(h, &t);
    house_free(h);
    struct io_count io = io_since(before);
    double body = (double)(r.stored * o->size), n = (double)r.stored;
    printf("{\"part\":\"amplify\",\"writers\":%u,\"size\":%llu,\"messages\":%llu,"
           "\"messages_s\":%.1f,\"syncs_message\":%.4f,\"pwrite_ratio\":%.4f,\"disk_ratio\":%.4f,"
           "\"pwrite_bytes_message\":%.0f,\"disk_bytes_message\":%.0f,\"p50_ms\":%.3f,"
           "\"p99_ms\":%.3f}\n",
           o->writers, (unsigned long long)o->size, (unsigned long long)r.stored, n / r.seconds,
           (double)io.syncs / n, (double)io.bytes / body, (double)io.disk_bytes / body,
           (double)io.bytes / n, (double)io.disk_bytes / n, series_part(&r.answers, 0.5),
           series_part(&r.answers, 0.99));
    turn_result_done(&r);
}
