/* Verbs that other rooms run, `serve` and `sink`: main tells of them, so that help, completion and
 * the manual know them as well. Their options are read from their help text. */
#include "relay/base/must.h"
#include "relay/cli/private.h"

enum { VERBS_MAX = 4, NAME_SIZE = 24 };

static struct elsewhere {
    struct cli_verb verb;
    struct cli_option options[OPTION_MAX + 1];
    char names[OPTION_MAX][NAME_SIZE];
} verbs[VERBS_MAX];
static size_t n_verbs;

/* "  --name VALUE  words" or "  -c FILE  words": an option, and whether it takes a value. */
static void read_option(struct elsewhere *e, size_t n, struct slice line)
{
    const struct slice word = slice_head(line, slice_find(line, ' '));
    const struct slice rest = slice_skip(line, word.n);
    const bool has_value = rest.n > 1 && rest.p[1] >= 'A' && rest.p[1] <= 'Z';
    if (slice_eq(word, SLICE_LIT("-c"))) {
        e->options[n] = (struct cli_option){"config", 'c', has_value};
        return;
    }
    const struct slice name = slice_skip(word, 2);
    MUST(name.n > 0 && name.n < NAME_SIZE);
    memcpy(e->names[n], name.p, name.n);
    e->options[n] = (struct cli_option){e->names[n], 0, has_value};
}

void cli_elsewhere(const char *name, const char *summary, const char *help)
{
    MUST(n_verbs < VERBS_MAX);
    struct elsewhere *e = &verbs[n_verbs++];
    size_t n = 0;
    for (struct slice rest = slice_str(help); rest.n;) {
        const struct slice line = slice_cut(&rest, '\n');
        if (!slice_starts(line, SLICE_LIT("  -")))
            continue;
        MUST(n < OPTION_MAX);
        read_option(e, n++, slice_skip(line, 2));
    }
    e->verb =
        (struct cli_verb){.name = name, .summary = summary, .options = e->options, .help = help};
}

void elsewhere_each(cli_each_fn *each, void *ctx)
{
    for (size_t i = 0; i < n_verbs; i++)
        each(ctx, &verbs[i].verb, verbs[i].verb.summary);
}

const struct cli_verb *elsewhere_find(const char *name)
{
    for (size_t i = 0; i < n_verbs; i++)
        if (strcmp(verbs[i].verb.name, name) == 0)
            return &verbs[i].verb;
    return NULL;
}
