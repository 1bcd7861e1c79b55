/*
 * The events room as a program: writes a delivery log as the daemon does, at a rate, for the tests
 * of those who read it.
 *
 *   kit_events PATH EVENTS-A-SECOND SECONDS ROTATE-SECONDS COMPRESS-SECONDS
 *
 * Goes on behind the last event of a log that is there. Prints the number of the last one. Where it
 * stood still it goes on from there, and where files are compressed it does not end before one is
 * so: there were so many seconds of writing, and files of every kind, on any machine.
 */
#include "relay/events/events.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STEP_MS = 5, STALL_MS = 100, PATIENCE_MS = 120000 };

static void push(struct events *ev, uint64_t seq)
{
    DEFER(buf_done) struct buf fields = BUF_MAX(4096);
    char text[64];
    snprintf(text, sizeof text, "user%" PRIu64 "@rcpt.test", seq);
    event_add_str(&fields, EV_QUEUE_ID, SLICE_LIT("0123456789ABC"));
    event_add_int(&fields, EV_RCPT, 0);
    event_add_str(&fields, EV_RECIPIENT, slice_str(text));
    event_add_str(&fields, EV_RECIPIENT_DOMAIN, SLICE_LIT("rcpt.test"));
    event_add_int(&fields, EV_SMTP_CODE, 250);
    event_add_str(&fields, EV_RESPONSE, SLICE_LIT("2.0.0 Ok: \"queued\" as gr\xc3\xbc\xc3\x9f"));
    struct event e = {seq, wall_now(), EVENT_DELIVERED, buf_slice(&fields)};
    events_push(ev, &e);
}

static uint64_t number(const char *text)
{
    uint64_t n = 0;
    MUST(slice_u64(slice_str(text), 1000000000, &n));
    return n;
}

static bool one_is_compressed(const char *path)
{
    DEFER(buf_done) struct buf pattern = BUF_MAX(4096);
    glob_t found;
    buf_addf(&pattern, "%.*s-*.zst", (int)(strrchr(path, '.') - path), path);
    if (glob(buf_str(&pattern), 0, NULL, &found) != 0)
        return false;
    globfree(&found);
    return true;
}

int main(int argc, char **argv)
{
    struct events *ev;
    struct err e = {0};
    uint64_t first = 0, done = 0;
    if (argc != 6) {
        fprintf(stderr, "usage: kit_events PATH RATE SECONDS ROTATE COMPRESS\n");
        return 2;
    }
    const uint64_t rate = number(argv[2]), all = rate * number(argv[3]);
    const struct events_conf c = {.path = argv[1],
                                  .node = "kit.test",
                                  .rotate_s = (int64_t)number(argv[4]),
                                  .compress_s = (int64_t)number(argv[5])};
    if (events_new(&ev, &c, &first, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    MUST(events_start(ev) == 0);
    const struct mono give_up = mono_add(mono_now(), PATIENCE_MS);
    struct mono begun = mono_now(), last = begun;
    const bool compresses = c.rotate_s > 0 && c.compress_s > 0;
    while (done < all ||
           (compresses && !one_is_compressed(argv[1]) && !mono_reached(give_up, last))) {
        const struct mono now = mono_now();
        if (now.ms - last.ms > STALL_MS)
            begun = mono_add(begun, now.ms - last.ms - STALL_MS);
        last = now;
        uint64_t due = (uint64_t)(now.ms - begun.ms) * rate / 1000;
        while (done < due && (done < all || compresses))
            push(ev, first + ++done);
        usleep(STEP_MS * 1000);
    }
    events_free(ev);
    printf("%" PRIu64 "\n", first + done);
    return 0;
}
