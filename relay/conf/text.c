/*
 * libConfuse reads the text: it knows braces, quotes, comments, ${VARIABLES}; each value comes here
 * through one callback and is kept as a setting with its place. Conversion is not libConfuse's
 * work, so that one wrong value does not hide the next.
 *
 * libConfuse takes the end of the file for a closing brace. So each text gets one more line, a key
 * of our own: it must arrive outside of any section, or the text was not complete. Comments are
 * made blank before (blank.c): libConfuse 3.3 counts their lines twice and refuses them inside
 * lists. It knows sections with a title and sections without, but none that may have one: those get
 * an empty title there, too.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/conf/options.h"
#include <confuse.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#define MARK "postwain-text"
#define INCLUDE_DEPTH_MAX 8

struct reading {
    struct conf_own *own;
    struct teller *teller;
    const char *file; /* the one being read; lives with own */
    unsigned depth;
    size_t bytes; /* read so far, all files */
    bool ended, failed;
};

/* libConfuse hands no context to its callbacks, and its scanner is one for the process. */
static pthread_mutex_t one_reader = PTHREAD_MUTEX_INITIALIZER;
static struct reading *reading;

static void fail(const cfg_t *cfg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(const cfg_t *cfg, const char *fmt, ...)
{
    DEFER(buf_done) struct buf text = BUF_MAX(1000);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    tell(reading->teller, reading->file, cfg->line > 0 ? (unsigned)cfg->line : 0, "%s",
         buf_str(&text));
    reading->failed = true;
}

static void on_error(cfg_t *cfg, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
    char text[400];
    vsnprintf(text, sizeof text, fmt, ap);
    struct slice what = slice_str(text);
    if (slice_find_slice(what, SLICE_LIT(MARK)) < what.n ||
        slice_starts(what, SLICE_LIT("premature end")))
        fail(cfg, "the file ends inside a section, a list, a string or a comment");
    else if (slice_find_slice(what, SLICE_LIT("duplicate title ''")) < what.n)
        fail(cfg, "a second section of this kind needs a title: tls \"name\" { … }");
    else if (slice_starts(what, SLICE_LIT("no such option")) && strcmp(cfg->name, "root") != 0)
        fail(cfg, "%s in section %s", text, cfg->name);
    else
        fail(cfg, "%s", text);
}

static enum conf_section section_of(const cfg_t *cfg)
{
    for (enum conf_section s = S_SPOOL; s < S_COUNT; s++)
        if (strcmp(cfg->name, section_name(s)) == 0)
            return s;
    return S_TOP;
}

/* A growing array keeps its room in powers of two, so that it needs no capacity beside its count.
 */
static void *one_more(void *list, size_t n, size_t size)
{
    return n & (n - 1) ? list : must_realloc(list, (n ? n * 2 : 1) * size);
}

/* Which of its kind this is, counted in the order of the file. */
static size_t instance_of(const cfg_t *cfg, enum conf_section section)
{
    struct settings *s = &reading->own->settings;
    size_t instance = 0;
    if (!section_has_title(section))
        return 0;
    for (size_t i = 0; i < s->n_titles; i++) {
        if (s->titles[i].section != section)
            continue;
        if (strcmp(s->titles[i].name, cfg->title) == 0)
            return instance;
        instance++;
    }
    s->titles = one_more(s->titles, s->n_titles, sizeof *s->titles);
    s->titles[s->n_titles++] = (struct title){.section = section,
                                              .name = own_text(reading->own, slice_str(cfg->title)),
                                              .file = reading->file,
                                              .line = (unsigned)cfg->line};
    return instance;
}

static bool is_twice(const cfg_t *cfg, const cfg_opt_t *opt, const struct setting *now)
{
    /* Behind `+=` the list already holds the earlier items. */
    if ((opt->flags & CFGF_LIST) && opt->nvalues > 1)
        return false;
    const struct setting *before =
        setting_find(reading->own, now->option->section, now->option->key, now->instance);
    if (before)
        fail(cfg, "%s is set twice, first in %s:%u", opt->name, before->file, before->line);
    return before;
}

/* cfg_callback_t: a value has been read. What goes into *result is kept by libConfuse, unused. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct settings *s = &reading->own->settings;
    enum conf_section section = section_of(cfg);
    const struct option *option = option_find(section, opt->name);
    MUST(option);
    *(const char **)result = "";
    if (s->n >= SETTINGS_MAX || s->n_titles >= TITLES_MAX) {
        fail(cfg, "there are more than %d values", SETTINGS_MAX);
        return -1;
    }
    struct setting now = {.option = option,
                          .instance = instance_of(cfg, section),
                          .text = own_text(reading->own, slice_str(value)),
                          .file = reading->file,
                          .line = (unsigned)cfg->line};
    if (is_twice(cfg, opt, &now))
        return 0;
    s->list = one_more(s->list, s->n, sizeof *s->list);
    s->list[s->n++] = now;
    return 0;
}

static int on_mark(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    (void)cfg;
    (void)opt;
    *(const char **)result = "";
    (void)value;
    reading->ended = true;
    return 0;
}

/* A section without keys has come to its end: it exists all the same. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
    (void)cfg;
    const cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
    instance_of(section, section_of(section));
    return 0;
}

static void fail_reading(const cfg_t *cfg, const char *path, int why)
{
    if (cfg->line) /* an include names the file that it wants */
        fail(cfg, "%s: %s", path, strerror(why));
    else
        fail(cfg, "%s", strerror(why));
}

static bool read_file(const cfg_t *cfg, const char *path, struct buf *text)
{
    FILE *f = fopen(path, "re");
    struct stat st;
    if (!f || fstat(fileno(f), &st) < 0) {
        fail_reading(cfg, path, errno);
    } else if (S_ISDIR(st.st_mode)) {
        fail(cfg, "%s is a folder", path);
    } else {
        uint8_t *room;
        size_t n = 1;
        while (n > 0 && (room = buf_reserve(text, 4096))) {
            n = fread(room, 1, 4096, f);
            buf_commit(text, n);
        }
        if (ferror(f))
            fail_reading(cfg, path, errno);
    }
    if (f)
        fclose(f);
    return !reading->failed;
}

static bool text_ok(cfg_t *cfg, struct buf *text)
{
    reading->bytes += text->n;
    cfg->line = 0;
    if (text->overflow || reading->bytes > TEXT_MAX_BYTES)
        fail(cfg, "the configuration is larger than %u bytes", TEXT_MAX_BYTES);
    size_t zero = slice_find(buf_slice(text), 0);
    for (size_t i = 0; zero < text->n && i < zero; i++)
        cfg->line += text->p[i] == '\n';
    cfg->line = zero < text->n ? cfg->line + 1 : 0;
    if (zero < text->n)
        fail(cfg, "holds a zero byte: is it a text file?");
    else if (!utf8_valid(buf_slice(text)))
        fail(cfg, "is not UTF-8 text");
    return !reading->failed;
}

static void parse(cfg_t *cfg, const char *path)
{
    DEFER(buf_done) struct buf text = BUF_MAX(TEXT_MAX_BYTES + 8192);
    if (!read_file(cfg, path, &text))
        return;
    reading->file = own_text(reading->own, slice_str(path));
    if (!text_ok(cfg, &text))
        return;
    if (!blank_comments(text.p, text.n)) {
        fail(cfg, "a comment /* … is not closed");
        return;
    }
    DEFER(buf_done) struct buf titled = BUF_MAX(2 * TEXT_MAX_BYTES + 8192);
    add_empty_titles(buf_slice(&text), &titled);
    buf_add_str(&titled, "\n" MARK " = end\n");
    MUST(!titled.overflow);
    FILE *f = fmemopen(titled.p, titled.n, "r");
    MUST(f);
    reading->ended = false;
    /* Our own words first, because libConfuse stops without one in a few corners. */
    if (cfg_parse_fp(cfg, f) != CFG_SUCCESS && !reading->failed)
        fail(cfg, "cannot be understood");
    if (!reading->failed && !reading->ended)
        fail(cfg, "the file ends inside a section, a list, a string or a comment");
    fclose(f);
}

static struct slice folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slice_of(path, (size_t)(slash - path) + 1) : SLICE_LIT("");
}

/* cfg_func_t: include("PATH"), relative to the file it stands in. Not cfg_include: that one loses
 * its place for good after an error. */
static int on_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
    (void)opt;
    if (argc != 1 || !argv[0][0]) {
        fail(cfg, "include takes one file name");
        return -1;
    }
    if (reading->depth >= INCLUDE_DEPTH_MAX) {
        fail(cfg, "files include each other more than %d deep", INCLUDE_DEPTH_MAX);
        return -1;
    }
    DEFER(buf_done) struct buf path = BUF_MAX(4096);
    if (argv[0][0] != '/')
        buf_add(&path, folder_of(reading->file));
    buf_add_str(&path, argv[0]);
    const char *file = reading->file;
    int line = cfg->line;
    reading->depth++;
    parse(cfg, buf_str(&path));
    reading->depth--;
    reading->file = file;
    cfg->line = line;
    return reading->failed ? -1 : 0;
}

/* The rows of one section as libConfuse wants them; it copies them. */
static cfg_opt_t *section_options(enum conf_section section, size_t more)
{
    cfg_opt_t *list = must_alloc((n_options + more + 1) * sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < n_options; i++) {
        if (options[i].section != section)
            continue;
        const cfg_opt_t one = CFG_STR_CB(options[i].key, NULL, CFGF_NODEFAULT, on_value);
        list[n] = one;
        if (option_kinds[options[i].type].is_list)
            list[n].flags |= CFGF_LIST;
        n++;
    }
    const cfg_opt_t end = CFG_END();
    list[n] = end;
    return list;
}

static cfg_t *grammar(void)
{
    cfg_opt_t *sections[S_COUNT] = {section_options(S_TOP, S_COUNT + 2)}, *top = sections[S_TOP];
    size_t n = 0;
    while (top[n].name)
        n++;
    for (enum conf_section s = S_SPOOL; s < S_COUNT; s++) {
        const cfg_flag_t flags =
            section_has_title(s) ? CFGF_TITLE | CFGF_MULTI | CFGF_NO_TITLE_DUPES : CFGF_NONE;
        sections[s] = section_options(s, 0);
        const cfg_opt_t one = CFG_SEC(section_name(s), sections[s], flags);
        top[n] = one;
        top[n++].validcb = section_has_title(s) ? on_section : NULL;
    }
    const cfg_opt_t include = CFG_FUNC("include", on_include), end = CFG_END();
    const cfg_opt_t mark = CFG_STR_CB(MARK, NULL, CFGF_NODEFAULT, on_mark);
    top[n++] = include;
    top[n++] = mark;
    top[n] = end;
    cfg_t *cfg = cfg_init(top, CFGF_NONE);
    MUST(cfg);
    for (enum conf_section s = S_TOP; s < S_COUNT; s++)
        free(sections[s]);
    return cfg;
}

/* `retry = { }` reaches no callback, and must not mean the default. */
static void check_empty_lists(cfg_t *cfg)
{
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];
        cfg_t *section = section_has_title(o->section) || o->section == S_TOP
                             ? NULL
                             : cfg_getsec(cfg, section_name(o->section));
        cfg_opt_t *opt = section ? cfg_getopt(section, o->key) : NULL;
        if (opt && option_kinds[o->type].is_list && o->fallback[0] && cfg_opt_size(opt) == 0 &&
            (opt->flags & CFGF_MODIFIED))
            fail(section, "%s is empty", o->key);
    }
}

bool conf_text_read(struct conf_own *o, const char *path, struct teller *t)
{
    struct reading r = {.own = o, .teller = t, .file = own_text(o, slice_str(path))};
    pthread_mutex_lock(&one_reader);
    reading = &r;
    cfg_t *cfg = grammar();
    cfg_set_error_function(cfg, on_error);
    cfg->filename = slice_dup(slice_str(path));
    parse(cfg, path);
    if (!r.failed)
        check_empty_lists(cfg);
    cfg_free(cfg);
    reading = NULL;
    pthread_mutex_unlock(&one_reader);
    return !r.failed;
}
