/* What the tests of this room share: a list on the fake disk, and events as the spool tells them.
 */
#pragma once
#include "relay/base/must.h"
#include "relay/suppress/suppress.h"
#include "tests/sim/fake_disk.c"
#include "tests/sim/fake_files.c"
#include "tests/sim/fake_ops.c"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#define DAY INT64_C(86400)

static const struct suppress_policy two_in_a_month = {
    .bounces = 2, .within_s = 30 * DAY, .by_user = true};

static inline struct suppress *kit_open(struct fake_disk *d, const struct suppress_policy *p,
                                        size_t *ret_damaged)
{
    struct suppress *s = NULL;
    struct err e = {0};
    size_t damaged;
    if (suppress_new(&s, fake_disk_ops(d), p, ret_damaged ? ret_damaged : &damaged, &e) < 0)
        print_error("open: %d %s\n", e.code, e.text);
    return s;
}

struct kit_event {
    enum event_name name;
    uint64_t seq;
    const char *user, *to, *class, *response;
    int64_t at_s;
};

static inline void kit_tell(struct suppress *s, const struct kit_event *k)
{
    struct buf f = BUF_MAX(4096);
    event_add_str(&f, EV_RECIPIENT, slice_str(k->to));
    if (k->user)
        event_add_str(&f, EV_USER, slice_str(k->user));
    if (k->response) {
        event_add_int(&f, EV_SMTP_CODE, 550);
        event_add_str(&f, EV_ENHANCED_STATUS, SLICE_LIT("5.1.1"));
        event_add_str(&f, EV_RESPONSE, slice_str(k->response));
    }
    if (k->class)
        event_add_str(&f, EV_CLASS, slice_str(k->class));
    struct event e = {.seq = k->seq,
                      .time = {(wall_now().us / WALL_SECOND + k->at_s) * WALL_SECOND},
                      .name = k->name,
                      .fields = buf_slice(&f)};
    suppress_event(s, &e);
    buf_done(&f);
}

static inline void kit_bounce(struct suppress *s, uint64_t seq, const char *user, const char *to,
                              int64_t at_s)
{
    kit_tell(
        s, &(struct kit_event){EVENT_BOUNCED, seq, user, to, "bad_mailbox", "no such user", at_s});
}

static inline bool kit_is_listed(struct suppress *s, const char *user, const char *to)
{
    struct suppress_found f;
    return suppress_find(s, slice_str(user), slice_str(to), &f);
}
