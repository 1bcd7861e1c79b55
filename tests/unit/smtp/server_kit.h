/* What the tests of the server session share: short dialogues, and what came of them. */
#pragma once
#include "relay/smtp/server.h"
#include "relay/smtp/server_priv.h"
#include "tests/talks/drive.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HELLO "EHLO client.test\r\n"
#define ENVELOPE "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"
#define MESSAGE ENVELOPE "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n"

static inline bool said(const struct drive *d, const char *text)
{
    return drive_has(buf_slice(&d->out), text);
}

static inline bool did(const struct drive *d, const char *text)
{
    return drive_has(buf_slice(&d->actions), text);
}

static inline size_t count(const struct buf *b, const char *word)
{
    size_t n = 0;
    for (struct slice s = buf_slice(b); drive_has(s, word); n++)
        s = slice_skip(s, slice_find_slice(s, slice_str(word)) + 1);
    return n;
}

static inline void expect(const struct drive *d, const char *output, const char *action)
{
    if (!said(d, output) || !did(d, action))
        fail_msg("wanted \"%s\" and \"%s\" in:\n%.*s\n%.*s", output, action,
                 SLICE_ARG(buf_slice(&d->out)), SLICE_ARG(buf_slice(&d->actions)));
}

static inline void talk(struct drive *d, const char *text)
{
    drive_arrive(d, slice_str(text));
}

static inline struct drive begin(const struct smtp_server_conf *conf, const char *text)
{
    struct drive d;
    drive_init(&d, conf, false);
    talk(&d, text);
    return d;
}

static inline void later(struct drive *d, int64_t ms)
{
    d->now = mono_add(d->now, ms);
    if (mono_reached(smtp_server_deadline(d->s), d->now))
        smtp_server_tick(d->s, d->now);
    drive_pump(d, NULL);
}
