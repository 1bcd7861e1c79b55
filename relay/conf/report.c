/* The words of reports: a part of the configuration in a file of its own, read with it, refused
 * with it. */
#include "relay/base/defer.h"
#include "relay/conf/options.h"
#include "relay/mail/dsn_template.h"
#include <errno.h>

static void tell_template(void *ctx, unsigned line, const char *problem)
{
    struct teller *t = ctx;
    tell(t, t->other, line, "%s", problem);
}

void report_words_load(struct conf_own *o, struct teller *t)
{
    DEFER(buf_done) struct buf text = BUF_MAX(DSN_TEMPLATE_BYTES_MAX + 4096);
    const char *path = o->c.report_template;
    if (!path[0])
        return;
    int rc = conf_file_read(path, &text);
    if (rc < 0) {
        tell_at(t, o, S_DELIVERY, "report-template", 0, "report-template: %s: %s", path,
                rc == -E2BIG ? "it is too long" : strerror(-rc));
        return;
    }
    t->other = path;
    o->c.report_words = dsn_template_parse(buf_slice(&text), tell_template, t);
}

void report_words_free(struct dsn_template *words)
{
    dsn_template_free(words);
}
