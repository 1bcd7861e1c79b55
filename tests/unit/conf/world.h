/* For the tests of the configuration: a text is loaded as an administrator's file, and what is said
 * of it is kept. FOLDER is the program's own, defined before this is included. */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "relay/conf/conf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_NAME FOLDER "/postwain.conf"
#define HOST "hostname = relay.example.com\n"
#define USERS "users { file = /u }\n"

/* A line each. */
static struct buf told = {.max = 65536};

static void say(void *ctx, const char *line)
{
    (void)ctx;
    buf_addf(&told, "%s\n", line);
}

static inline void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    MUST(f);
    fputs(text, f);
    fclose(f);
}

/* NULL: it is refused, and told says why. */
static struct conf *load(const char *text)
{
    buf_reset(&told);
    write_file(FILE_NAME, text);
    return conf_load(FILE_NAME, say, NULL);
}
