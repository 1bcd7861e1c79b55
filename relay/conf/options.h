/*
 * The tables behind the configuration (options.def, types.def), and what stands between the text
 * and the snapshot: settings, each a value as written, with its place. Private to this room.
 *
 *   text.c     file → settings (libConfuse knows the grammar, nothing else)
 *   blank.c    comments → blanks, before that
 *   values.c   one setting → one field, by its type
 *   conf.c     all of them, with defaults → struct conf
 *   rules.c    contradictions that the text alone shows
 */
#pragma once
#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/conf/conf.h"
#include <netinet/in.h>

enum conf_section { /* the order of section_names in options.c */
                    S_TOP,
                    S_SPOOL,
                    S_TLS,
                    S_LISTENER,
                    S_USERS,
                    S_CLIENTS,
                    S_DNS,
                    S_DELIVERY,
                    S_DESTINATION,
                    S_DKIM,
                    S_VERP,
                    S_SUPPRESSION,
                    S_LOG,
                    S_CONTROL,
                    S_HTTP,
                    S_COUNT
};

enum option_type {
#define X(type, is_list, words, convert, names) T_##type,
#include "relay/conf/types.def"
#undef X
    T_COUNT_OF_TYPES
};

struct option {
    enum conf_section section;
    const char *key;
    enum option_type type;
    size_t offset; /* in the section's structure */
    const char *fallback;
    int64_t min, max;
    const char *help; /* NULL: hidden */
};

struct option_kind {
    bool is_list;
    const char *words, *names;
};

extern const struct option options[];
extern const size_t n_options;
extern const struct option_kind option_kinds[T_COUNT_OF_TYPES];
const char *section_name(enum conf_section s); /* "" for S_TOP */
bool section_has_title(enum conf_section s);   /* there may be several */
bool section_title_is_optional(enum conf_section s);
/* The row of a key; NULL when there is none. */
const struct option *option_find(enum conf_section s, const char *key);

/* One value as it stands in the file. A list has one setting for each item. */
struct setting {
    const struct option *option;
    size_t instance; /* which listener, which destination; else 0 */
    const char *text, *file;
    unsigned line;
};

struct title { /* a tls, listener or destination section, in the order of the file */
    enum conf_section section;
    const char *name, *file;
    unsigned line; /* of its first key */
};

#define SETTINGS_MAX 100000
#define TITLES_MAX 10000
#define TEXT_MAX_BYTES (4u << 20) /* all included files together */

struct settings {
    struct setting *list;
    size_t n;
    struct title *titles;
    size_t n_titles;
};

typedef void conf_say(void *ctx, const char *line);

struct teller {
    conf_say *say;
    void *ctx;
    unsigned problems;
    const char *path;  /* when there is no better place */
    const char *other; /* a file of its own that is being read */
};
/* "FILE:LINE: message"; file NULL: the configuration itself, line 0: no line is to blame. */
void tell(struct teller *t, const char *file, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The snapshot with what only this room needs. */
struct conf_own {
    struct conf c; /* first: its frozen part is the first thing of all */
    struct arena arena;
    struct settings settings;
};

char *own_text(struct conf_own *o, struct slice s);
void *own_alloc(struct conf_own *o, size_t n);

/* Fills o->settings from the file; false when the grammar is broken (told). */
bool conf_text_read(struct conf_own *o, const char *path, struct teller *t);

/* Blanks in place of comments; lines stay where they are. False: a comment is not closed. */
bool blank_comments(uint8_t *text, size_t n);
/* The same text, with an empty title where a section that may have one has none. */
void add_empty_titles(struct slice text, struct buf *out);

/* Converts text for an option into *field (for a list: one item). Else `why` says what is wrong. */
struct place {
    struct conf_own *own;
    const struct option *option;
    const char *folder; /* of the file that holds it, for relative paths */
};
bool value_convert(const struct place *p, struct slice text, void *field, struct buf *why);

/* The whole of a small file. 0, or -errno; -E2BIG: past the buffer's maximum. file.c */
int conf_file_read(const char *path, struct buf *out);

/* The template of reports (report.c). */
void report_words_load(struct conf_own *o, struct teller *t);
void report_words_free(struct dsn_template *words);

/* Sections that sign mail (sign.c): what their text shows, and what conf_load_keys read. */
void sign_rules(struct conf_own *o, struct teller *t);
void sign_free(struct dkim_ring *keys);

void conf_rules(struct conf_own *o, struct teller *t);
/* Addresses and paths that are named twice (taken.c). */
void conf_taken(struct conf_own *o, struct teller *t);
/* The first setting of an option in an instance; NULL: not set. */
const struct setting *setting_find(const struct conf_own *o, enum conf_section s, const char *key,
                                   size_t instance);
/* tell() at the place of a setting, or of its section, or of the file. */
void tell_at(struct teller *t, const struct conf_own *o, enum conf_section s, const char *key,
             size_t instance, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* Addresses (hosts.c). "1.2.3.4", "::1" (also in brackets); false: not an address. */
struct ip {
    bool v6;
    uint8_t bytes[16];
};
bool ip_parse(struct slice s, struct ip *ret);
/* "HOST:PORT", "[V6]:PORT", and without a port when port_or_0 is not 0. */
bool host_port_split(struct slice s, uint16_t port_or_0, struct slice *ret_host,
                     uint16_t *ret_port);
bool host_name_ok(struct slice s);
struct network {
    struct ip base;
    unsigned bits;
};
bool network_parse(struct slice s, struct network *ret, struct buf *why);
/* Wide enough to be (nearly) everyone. */
bool network_is_open(const struct network *n);

/* The keys as mdoc(7), for the manual. */
void options_mdoc(struct buf *out);
