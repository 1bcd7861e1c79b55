#include "queue/suspend.h"
#include "relay/base/must.h"
#include <stdlib.h>

static void entry_done(struct suspension *e)
{
    free(e->name);
    free(e->actor);
    free(e->reason);
}

void suspensions_done(struct suspensions *s)
{
    for (size_t i = 0; i < s->n; i++)
        entry_done(&s->list[i]);
    free(s->list);
    *s = (struct suspensions){0};
}

static void remove_at(struct suspensions *s, size_t i)
{
    entry_done(&s->list[i]);
    s->n--;
    memmove(&s->list[i], &s->list[i + 1], (s->n - i) * sizeof *s->list);
}

bool suspensions_drop(struct suspensions *s, struct slice name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!slice_eq(slice_str(s->list[i].name), name))
            continue;
        remove_at(s, i);
        return true;
    }
    return false;
}

size_t suspensions_end(struct suspensions *s, struct wall now)
{
    size_t before = s->n;
    for (size_t i = s->n; i-- > 0;)
        if (s->list[i].until.us && s->list[i].until.us <= now.us)
            remove_at(s, i);
    return before - s->n;
}

static char *clean(struct slice s)
{
    char *text = slice_dup(slice_head(s, SUSPEND_TEXT_MAX));
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = ' ';
    return text;
}

bool suspensions_put(struct suspensions *s, struct slice name, struct slice actor,
                     struct slice reason, struct wall since, struct wall until)
{
    suspensions_drop(s, name);
    if (s->n >= SUSPEND_MAX)
        return false;
    s->list = must_realloc(s->list, (s->n + 1) * sizeof *s->list);
    s->list[s->n++] = (struct suspension){clean(name), clean(actor), clean(reason), since, until};
    return true;
}

static bool read_line(struct suspensions *s, struct slice line)
{
    uint64_t since, until;
    if (!slice_u64(slice_cut(&line, ' '), INT64_MAX, &since) ||
        !slice_u64(slice_cut(&line, ' '), INT64_MAX, &until))
        return false;
    struct slice name = slice_cut(&line, '\t'), actor = slice_cut(&line, '\t');
    return name.n > 0 && suspensions_put(s, name, actor, line, (struct wall){(int64_t)since},
                                         (struct wall){(int64_t)until});
}

size_t suspensions_read(struct suspensions *s, struct slice text)
{
    size_t bad = 0;
    while (text.n > 0)
        bad += !read_line(s, slice_cut(&text, '\n'));
    return bad;
}

void suspensions_write(const struct suspensions *s, struct buf *out)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct suspension *e = &s->list[i];
        buf_addf(out, "%lld %lld %s\t%s\t%s\n", (long long)e->since.us, (long long)e->until.us,
                 e->name, e->actor, e->reason);
    }
}
