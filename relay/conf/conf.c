#include "relay/conf/conf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/conf/options.h"
#include <errno.h>
#include <stdatomic.h>

#define CLASSES_BYTES_MAX ((size_t)512 * 1024)
#define ARENA_MAX ((size_t)64 << 20)

char *own_text(struct conf_own *o, struct slice s)
{
    struct slice kept = arena_dup(&o->arena, s);
    MUST(kept.p); /* TEXT_MAX_BYTES and SETTINGS_MAX keep us far below */
    char *text;
    memcpy(&text, &kept.p, sizeof text);
    return text;
}

void *own_alloc(struct conf_own *o, size_t n)
{
    void *p = arena_alloc(&o->arena, n);
    MUST(p);
    return p;
}

void tell(struct teller *t, const char *file, unsigned line, const char *fmt, ...)
{
    DEFER(buf_done) struct buf text = BUF_MAX(8192), clean = BUF_MAX(8192);
    buf_addf(&text, "%s:", file ? file : t->path);
    if (line)
        buf_addf(&text, "%u:", line);
    buf_add_u8(&text, ' ');
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    utf8_clean(&clean, buf_slice(&text), 8000);
    t->problems++;
    t->say(t->ctx, buf_str(&clean));
}

const struct setting *setting_find(const struct conf_own *o, enum conf_section s, const char *key,
                                   size_t instance)
{
    const struct option *option = option_find(s, key);
    for (size_t i = 0; i < o->settings.n; i++)
        if (o->settings.list[i].option == option && o->settings.list[i].instance == instance)
            return &o->settings.list[i];
    return NULL;
}

/* The instance-th listener or destination of the file; NULL for what we put in ourselves. */
static const struct title *title_find(const struct conf_own *o, enum conf_section s,
                                      size_t instance)
{
    for (size_t i = 0; i < o->settings.n_titles; i++)
        if (o->settings.titles[i].section == s && instance-- == 0)
            return &o->settings.titles[i];
    return NULL;
}

void tell_at(struct teller *t, const struct conf_own *o, enum conf_section s, const char *key,
             size_t instance, const char *fmt, ...)
{
    DEFER(buf_done) struct buf text = BUF_MAX(4096);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    const struct setting *at = setting_find(o, s, key, instance);
    const struct title *title = title_find(o, s, instance);
    if (at)
        tell(t, at->file, at->line, "%s", buf_str(&text));
    else
        tell(t, title ? title->file : NULL, title ? title->line : 0, "%s", buf_str(&text));
}

static void *field_of(struct conf_own *o, const struct option *option, size_t instance)
{
    void *base = &o->c;
    if (option->section == S_TLS)
        base = &o->c.tls[instance];
    else if (option->section == S_LISTENER)
        base = &o->c.listeners[instance];
    else if (option->section == S_DESTINATION)
        base = &o->c.destinations[instance];
    else if (option->section == S_DKIM)
        base = &o->c.dkim[instance];
    return (char *)base + option->offset;
}

/* Where the next item of a list goes; NULL when it is full. */
static void *next_item(struct conf_own *o, const struct option *option, void *field, size_t room)
{
    if (option->type == T_RETRY) {
        struct conf_retry *retry = field;
        return retry->n < CONF_RETRY_MAX ? &retry->pause_s[retry->n++] : NULL;
    }
    struct conf_list *list = field;
    if (!list->items)
        list->items = own_alloc(o, room * sizeof *list->items);
    return &list->items[list->n++];
}

static bool put(struct conf_own *o, const struct setting *s, size_t room, struct buf *why)
{
    DEFER(buf_done) struct buf folder = BUF_MAX(4096);
    const char *slash = strrchr(s->file, '/');
    buf_add(&folder, slice_of(s->file, slash ? (size_t)(slash - s->file) + 1 : 0));
    struct place p = {.own = o, .option = s->option, .folder = buf_str(&folder)};
    void *field = field_of(o, s->option, s->instance);
    if (option_kinds[s->option->type].is_list)
        field = next_item(o, s->option, field, room);
    if (!field) {
        buf_addf(why, "is one too many: at most %d", CONF_RETRY_MAX);
        return false;
    }
    return value_convert(&p, slice_str(s->text), field, why);
}

static void put_default(struct conf_own *o, const struct option *option, size_t instance)
{
    DEFER(buf_done) struct buf why = BUF_MAX(500);
    struct slice rest = slice_str(option->fallback);
    const bool is_list = option_kinds[option->type].is_list;
    const size_t room = rest.n / 2 + 1;
    if (is_list && rest.n == 0)
        return;
    do {
        struct slice item = is_list ? slice_cut(&rest, ' ') : rest;
        struct setting s = {option, instance, own_text(o, item), "", 0};
        MUST(put(o, &s, room, &why));
    } while (is_list && rest.n);
}

static void put_defaults(struct conf_own *o, enum conf_section section, size_t instance)
{
    for (size_t i = 0; i < n_options; i++)
        if (options[i].section == section && !setting_find(o, section, options[i].key, instance))
            put_default(o, &options[i], instance);
}

/* Items of one list are neighbours in the settings unless `+=` came later, so counting all of the
 * option in its instance is enough. */
static size_t items_of(const struct conf_own *o, const struct setting *s)
{
    size_t n = 0;
    for (size_t i = 0; i < o->settings.n; i++)
        n += o->settings.list[i].option == s->option && o->settings.list[i].instance == s->instance;
    return n;
}

static void put_settings(struct conf_own *o, struct teller *t)
{
    for (size_t i = 0; i < o->settings.n; i++) {
        const struct setting *s = &o->settings.list[i];
        DEFER(buf_done) struct buf why = BUF_MAX(500);
        const struct conf_list *list = field_of(o, s->option, s->instance);
        const bool is_new =
            option_kinds[s->option->type].is_list && s->option->type != T_RETRY && !list->items;
        if (!put(o, s, is_new ? items_of(o, s) : 1, &why))
            tell(t, s->file, s->line, "%s: \"%s\" %s", s->option->key, s->text, buf_str(&why));
    }
}

static size_t count_titles(const struct conf_own *o, enum conf_section s)
{
    size_t n = 0;
    for (size_t i = 0; i < o->settings.n_titles; i++)
        n += o->settings.titles[i].section == s;
    return n;
}

static void make_sections(struct conf_own *o)
{
    struct conf *c = &o->c;
    c->n_tls = count_titles(o, S_TLS);
    c->n_listeners = count_titles(o, S_LISTENER);
    c->n_destinations = count_titles(o, S_DESTINATION) + 1;
    c->n_dkim = count_titles(o, S_DKIM);
    /* Room for the two listeners that come by themselves. */
    c->listeners = own_alloc(o, (c->n_listeners + 2) * sizeof *c->listeners);
    c->destinations = own_alloc(o, c->n_destinations * sizeof *c->destinations);
    c->tls = own_alloc(o, (c->n_tls + 1) * sizeof *c->tls);
    c->dkim = own_alloc(o, (c->n_dkim + 1) * sizeof *c->dkim);
    for (size_t i = 0; i < c->n_dkim; i++)
        c->dkim[i].domain = title_find(o, S_DKIM, i)->name;
    for (size_t i = 0; i < c->n_tls; i++) {
        c->tls[i].name = title_find(o, S_TLS, i)->name;
        if (!c->tls[i].name[0])
            c->tls_default = i;
    }
    for (size_t i = 0; i < c->n_listeners; i++)
        c->listeners[i].name = title_find(o, S_LISTENER, i)->name;
    for (size_t i = 0; i + 1 < c->n_destinations; i++)
        c->destinations[i].name = title_find(o, S_DESTINATION, i)->name;
    c->destinations[c->n_destinations - 1].name = "default";
}

static void list_of(struct conf_own *o, struct conf_list *list, const char *a, const char *b)
{
    list->items = own_alloc(o, 2 * sizeof *list->items);
    list->items[0] = a;
    list->items[1] = b;
    list->n = 2;
}

/*
 * Without a listener section: the two submission ports when there is a certificate; else mail of
 * this very machine, in clear, which never leaves it on that way.
 */
static void add_listeners(struct conf_own *o)
{
    struct conf *c = &o->c;
    if (c->n_listeners)
        return;
    struct conf_listener *l = c->listeners;
    bool has_tls = conf_has_certificate(c);
    c->n_listeners = has_tls ? 2 : 1;
    for (size_t i = 0; i < c->n_listeners; i++)
        put_defaults(o, S_LISTENER, i);
    if (has_tls) {
        l[0].name = "submission";
        l[1].name = "submissions";
        l[1].tls = CONF_TLS_IMPLICIT;
        list_of(o, &l[0].address, "0.0.0.0:587", "[::]:587");
        list_of(o, &l[1].address, "0.0.0.0:465", "[::]:465");
    } else {
        l[0].name = "local";
        l[0].tls = CONF_TLS_NONE;
        l[0].auth = CONF_AUTH_NONE;
        list_of(o, &l[0].address, "127.0.0.1:587", "[::1]:587");
        list_of(o, &l[0].trust, "127.0.0.0/8", "::1/128");
    }
}

bool conf_has_certificate(const struct conf *c)
{
    return c->tls_default < c->n_tls && c->tls[c->tls_default].certificate.n > 0;
}

/* An address that nobody has named may be nobody's: nothing is sent there unasked. */
static void settle_double_bounces(struct conf *c, bool postmaster_is_named)
{
    const char *said = c->double_bounces;
    if (strcmp(said, "log") == 0 || (!said[0] && !postmaster_is_named))
        c->double_bounces = "";
    else if (!said[0] || strcmp(said, "postmaster") == 0)
        c->double_bounces = c->postmaster;
}

static void finish(struct conf_own *o)
{
    struct conf *c = &o->c;
    for (enum conf_section s = S_TOP; s < S_COUNT; s++)
        if (!section_has_title(s))
            put_defaults(o, s, 0);
    for (size_t i = 0; i < c->n_listeners; i++)
        put_defaults(o, S_LISTENER, i);
    for (size_t i = 0; i < c->n_destinations; i++) {
        put_defaults(o, S_DESTINATION, i);
        /* A password is shown to nobody by default who has not proved who he is. */
        if (c->destinations[i].user[0] && !setting_find(o, S_DESTINATION, "tls", i))
            c->destinations[i].tls = CONF_OUT_VERIFY;
    }
    for (size_t i = 0; i < c->n_dkim; i++)
        put_defaults(o, S_DKIM, i);
    add_listeners(o);
    const bool postmaster_is_named = c->postmaster[0];
    if (c->hostname && !c->postmaster[0]) {
        DEFER(buf_done) struct buf text = BUF_MAX(300);
        buf_addf(&text, "postmaster@%s", c->hostname);
        c->postmaster = own_text(o, buf_slice(&text));
    }
    settle_double_bounces(c, postmaster_is_named);
}

static void conf_free(struct frozen *f)
{
    struct conf_own *o = (struct conf_own *)f;
    free(o->settings.list);
    free(o->settings.titles);
    free(o->c.classes);
    report_words_free(o->c.report_words);
    sign_free(o->c.dkim_keys);
    arena_done(&o->arena);
    free(o);
}

static void tell_class(void *ctx, unsigned line, const char *problem)
{
    struct teller *t = ctx;
    tell(t, t->other, line, "%s", problem);
}

/* A part of the configuration in a file of its own: read with it, refused with it. */
static void load_classes(struct conf_own *o, struct teller *t)
{
    DEFER(buf_done) struct buf text = BUF_MAX(CLASSES_BYTES_MAX);
    const char *path = o->c.classes_file;
    if (!path[0])
        return;
    int rc = conf_file_read(path, &text);
    if (rc < 0) {
        tell_at(t, o, S_DELIVERY, "classes", 0, "classes: %s: %s", path,
                rc == -E2BIG ? "it is too long" : strerror(-rc));
        return;
    }
    t->other = path;
    o->c.classes = classes_parse(buf_slice(&text), tell_class, t);
}

static uint64_t next_serial(void)
{
    static atomic_uint_fast64_t last;
    return atomic_fetch_add(&last, 1) + 1;
}

struct conf *conf_load(const char *path, conf_say *say, void *ctx)
{
    struct teller t = {.say = say, .ctx = ctx, .path = path};
    struct conf_own *o = must_alloc(sizeof *o);
    frozen_init(&o->c.frozen, conf_free);
    o->c.serial = next_serial();
    arena_init(&o->arena, ARENA_MAX);
    o->c.path = own_text(o, slice_str(path));
    bool complete = conf_text_read(o, path, &t);
    make_sections(o);
    put_settings(o, &t);
    /* Half a text has no contradictions worth telling. */
    if (complete && t.problems == 0) {
        finish(o);
        conf_rules(o, &t);
        load_classes(o, &t);
        report_words_load(o, &t);
    }
    if (t.problems == 0)
        return &o->c;
    conf_unref(&o->c);
    return NULL;
}

static bool fits(const struct conf_list *patterns, struct slice s)
{
    for (size_t i = 0; i < patterns->n; i++)
        if (slice_glob(slice_str(patterns->items[i]), s))
            return true;
    return patterns->n == 0;
}

bool conf_wants_verp(const struct conf *c, struct slice sender, struct slice user)
{
    const bool any = c->verp_senders.n > 0 || c->verp_users.n > 0;
    return any && sender.n > 0 && fits(&c->verp_senders, sender) && fits(&c->verp_users, user);
}

struct conf *conf_ref(struct conf *c)
{
    return (struct conf *)frozen_ref(c ? &c->frozen : NULL);
}

void conf_unref(struct conf *c)
{
    if (c)
        frozen_unref(&c->frozen);
}

static void tell_for(const struct conf *c, enum conf_section s, const char *key, size_t i,
                     const char *text, conf_say *say, void *ctx)
{
    struct teller t = {.say = say, .ctx = ctx, .path = c->path};
    tell_at(&t, (const struct conf_own *)c, s, key, i, "%s", text);
}

void conf_tell_tls(const struct conf *c, size_t i, const char *key, const char *text, conf_say *say,
                   void *ctx)
{
    tell_for(c, S_TLS, key ? key : "certificate", i, text, say, ctx);
}

void conf_tell_listener(const struct conf *c, size_t i, const char *key, const char *text,
                        conf_say *say, void *ctx)
{
    tell_for(c, S_LISTENER, key, i, text, say, ctx);
}

void conf_tell_destination(const struct conf *c, size_t i, const char *key, const char *text,
                           conf_say *say, void *ctx)
{
    tell_for(c, S_DESTINATION, key, i, text, say, ctx);
}

void conf_tell_top(const struct conf *c, const char *key, const char *text, conf_say *say,
                   void *ctx)
{
    tell_for(c, S_TOP, key, 0, text, say, ctx);
}

const struct conf_destination *conf_by_domain(const struct conf *c, struct slice domain)
{
    for (size_t i = 0; i < c->n_destinations; i++) {
        const struct conf_list *list = &c->destinations[i].domains;
        for (size_t k = 0; k < list->n; k++)
            if (slice_glob(slice_str(list->items[k]), domain))
                return &c->destinations[i];
    }
    return NULL;
}

const struct conf_destination *conf_by_name(const struct conf *c, struct slice name)
{
    for (size_t i = 0; i < c->n_destinations; i++)
        if (slice_eq(slice_str(c->destinations[i].name), name))
            return &c->destinations[i];
    return NULL;
}
