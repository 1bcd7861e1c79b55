#include "relay/conf/options.h"
#include <stddef.h>

#define STRUCT_TOP conf
#define STRUCT_SPOOL conf
#define STRUCT_TLS conf_tls
#define STRUCT_LISTENER conf_listener
#define STRUCT_USERS conf
#define STRUCT_CLIENTS conf
#define STRUCT_DNS conf
#define STRUCT_DELIVERY conf
#define STRUCT_DESTINATION conf_destination
#define STRUCT_DKIM conf_dkim
#define STRUCT_VERP conf
#define STRUCT_SUPPRESSION conf
#define STRUCT_LOG conf
#define STRUCT_CONTROL conf
#define STRUCT_HTTP conf

const struct option options[] = {
#define X(section, key, type, field, fallback, min, max, help)                                     \
    {S_##section, key, T_##type, offsetof(struct STRUCT_##section, field),                         \
     fallback,    min, max,      help},
#include "relay/conf/options.def"
#undef X
};
const size_t n_options = sizeof options / sizeof *options;

const struct option_kind option_kinds[] = {
#define X(type, is_list, words, convert, names) {is_list, words, names},
#include "relay/conf/types.def"
#undef X
};

static const char *const section_names[] = {
    "",        "spool",       "tls",      "listener",    "users",
    "clients", "dns",         "delivery", "destination", "dkim",
    "verp",    "suppression", "log",      "control",     "http",
};
_Static_assert(sizeof section_names / sizeof *section_names == S_COUNT, "one name a section");

static const char *const section_help[] = {
    "Outside of any section.",
    "The mail that waits.",
    ("The certificate of the listeners. Further sections have titles: each is shown to clients "
     "that "
     "ask (SNI) for its title or for a name in its certificate, itself before a wildcard, the "
     "first "
     "section before later ones. Who asks for no name, or for one that is in none, is shown the "
     "section without a title; where there is none, the first. Files that change are read again by "
     "themselves; those that do not fit together are told in the log and in postwain status, and "
     "what was read before stays."),
    "Where mail comes in. Each listener has a title of its own.",
    "Who may log in.",
    ("What is done about client addresses that misbehave. A client is an IPv4 address or an IPv6 "
     "/64."),
    "Looking up where mail goes.",
    "What every destination starts from.",
    "How mail goes out, else by MX. Each has a title of its own; the first that matches is taken.",
    ("Signatures by which receivers see that mail comes from the domain in its From: (RFC 6376). "
     "The "
     "title is that domain. Mail whose From: has a domain without a section goes out without one. "
     "What is signed is the header fields that a reader sees and the whole content, when the "
     "message comes in; reports of our own are signed as well. "
     "postwain dkim key makes a key and says what has to be published; "
     "postwain dkim check looks whether it is."),
    ("Reverse-paths that name their recipient, so that bounces tell whom they are about: "
     "news@example.com to bob@example.net goes out from news+bob=example.net@example.com, and "
     "reports of failures come back there, ours as well, one for each recipient. Notices of delay, "
     "and that mail was handed on, go to the sender as he is: at the other address they would "
     "count "
     "as bounces. Each recipient gets the message in a transaction of his own. With neither "
     "senders nor users nothing is changed; with both, both must fit. Failures of one message "
     "count once for reports-per-sender, however many reports they make; many messages of a list "
     "may need more there. The delivery log shows the path as reverse_path. An address that does "
     "not fit, because one of both has quotes, a literal or characters past ASCII, or more than 64 "
     "octets "
     "would stand before the @, stays as it is; so does that of captured mail."),
    ("Recipients that are not sent to: those whose mail bounced for good (classes bad_mailbox and "
     "bad_domain in the delivery log), and those that postwain suppress add names. The list is "
     "kept with the spool."),
    "What is written down.",
    "How the daemon is controlled.",
    "Where monitoring looks, without a login: /metrics for Prometheus, /healthz (the process "
    "runs), "
    "/readyz (it takes mail).",
};
_Static_assert(sizeof section_help / sizeof *section_help == S_COUNT, "one line a section");

const char *section_name(enum conf_section s)
{
    return section_names[s];
}

bool section_has_title(enum conf_section s)
{
    return s == S_LISTENER || s == S_DESTINATION || s == S_TLS || s == S_DKIM;
}

bool section_title_is_optional(enum conf_section s)
{
    return s == S_TLS;
}

const struct option *option_find(enum conf_section s, const char *key)
{
    for (size_t i = 0; i < n_options; i++)
        if (options[i].section == s && strcmp(options[i].key, key) == 0)
            return &options[i];
    return NULL;
}

#define MDOC_WIDTH 78

/* mdoc: a new sentence is a new line, no line is long, and none begins with a dot or an apostrophe
 * by chance. */
static void mdoc_sentence(struct buf *out, struct slice sentence)
{
    for (size_t column = 0; sentence.n;) {
        struct slice word = slice_cut(&sentence, ' ');
        if (column)
            buf_add_u8(out, column + 1 + word.n > MDOC_WIDTH ? '\n' : ' ');
        column = column && column + 1 + word.n <= MDOC_WIDTH ? column + 1 + word.n : word.n;
        if (column == word.n && word.n && (word.p[0] == '.' || word.p[0] == '\''))
            buf_add_str(out, "\\&");
        buf_add(out, word);
    }
    buf_add_u8(out, '\n');
}

static void mdoc_sentences(struct buf *out, const char *text)
{
    for (struct slice rest = slice_str(text); rest.n;) {
        size_t end = slice_find_slice(rest, SLICE_LIT(". "));
        mdoc_sentence(out, slice_head(rest, end + 1));
        rest = slice_skip(rest, end + 2);
    }
}

static void mdoc_option(struct buf *out, const struct option *o)
{
    buf_addf(out, ".It Ic %s No = Ar %s\n", o->key, option_kinds[o->type].words);
    mdoc_sentences(out, o->help);
    if (!o->fallback[0])
        return;
    buf_add_str(out, "Default:\n");
    if (option_kinds[o->type].is_list)
        buf_addf(out, ".Ql { %s } .\n", o->fallback);
    else
        buf_addf(out, ".Ql %s .\n", o->fallback);
}

void options_mdoc(struct buf *out)
{
    for (enum conf_section s = S_TOP; s < S_COUNT; s++) {
        if (s != S_TOP)
            buf_addf(out, ".Ss %s%s\n", section_name(s),
                     section_title_is_optional(s) ? " Op \\(dqtitle\\(dq"
                     : section_has_title(s)       ? " \\(dqtitle\\(dq"
                                                  : "");
        mdoc_sentences(out, section_help[s]);
        buf_add_str(out, ".Bl -tag -width Ds\n");
        for (size_t i = 0; i < n_options; i++)
            if (options[i].section == s && options[i].help)
                mdoc_option(out, &options[i]);
        buf_add_str(out, ".El\n");
    }
}
