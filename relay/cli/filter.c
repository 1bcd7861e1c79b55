/* FILTER, the same for every verb: options → the filter object of the protocol. */
#include "queue/id.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <stdlib.h>

#define IDS_MAX 60000 /* as many as fit into a request line */

enum filter_kind { F_ID, F_TEXT, F_STATE, F_SECONDS, F_NUMBER, F_SIZE, F_CODE, F_FILE, F_TAG };

static const struct {
    const char *option, *key;
    enum filter_kind kind;
} filters[] = {
    {"id", "id", F_ID},
    {"ids-from", "id", F_FILE},
    {"from", "from", F_TEXT},
    {"to", "to", F_TEXT},
    {"recipient", "to", F_TEXT},
    {"user", "user", F_TEXT},
    {"destination", "destination", F_TEXT},
    {"site", "site", F_TEXT},
    {"reply", "reply", F_TEXT},
    {"tag", "tag", F_TAG},
    {"state", "state", F_STATE},
    {"older-than", "older_than_s", F_SECONDS},
    {"newer-than", "newer_than_s", F_SECONDS},
    {"attempts-ge", "attempts_ge", F_NUMBER},
    {"size-ge", "size_ge", F_SIZE},
    {"code", "code", F_CODE},
};

static void put(json_t *filter, const char *key, json_t *value)
{
    MUST(json_object_set_new(filter, key, value) == 0);
}

static void put_id(json_t *filter, const char *id)
{
    json_t *ids = json_object_get(filter, "id");
    if (!ids)
        put(filter, "id", ids = json_array());
    json_array_append_new(ids, json_string(id));
}

/* A line that is no id would otherwise be left out: others than were meant would be acted on. */
static int put_ids_of(const struct cli_args *a, json_t *filter, FILE *f, const char *path)
{
    DEFER_FREE char *line = NULL;
    size_t size = 0, n = 0, number = 0;
    for (ssize_t got; (got = getline(&line, &size, f)) >= 0 && n <= IDS_MAX;) {
        const struct slice id = slice_trim(slice_of(line, (size_t)got));
        uint64_t any;
        number++;
        if (id.n == 0)
            continue;
        if (!queue_id_parse(id, &any))
            return args_wrong(a, "%s:%zu: %.*s is no queue id", path, number,
                              SLICE_ARG(slice_head(id, 60)));
        DEFER_FREE char *text = slice_dup(id);
        put_id(filter, text);
        n++;
    }
    if (ferror(f))
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    if (n == 0)
        return cli_fail(CLI_NOTHING, "nothing matched: %s holds no ids", path);
    return n > IDS_MAX ? args_wrong(a, "%s holds more than %d ids", path, IDS_MAX) : ARGS_GO_ON;
}

static int put_ids_from(const struct cli_args *a, json_t *filter, const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    const int rc = put_ids_of(a, filter, f, path);
    if (f != stdin)
        fclose(f);
    return rc;
}

static bool is_code(struct slice s)
{
    if (s.n != 3 || s.p[0] < '2' || s.p[0] > '5')
        return false;
    uint64_t number;
    return slice_eq(slice_skip(s, 1), SLICE_LIT("xx")) || slice_u64(s, 599, &number);
}

static bool is_state(const char *s)
{
    return strcmp(s, "ready") == 0 || strcmp(s, "waiting") == 0 || strcmp(s, "held") == 0 ||
           strcmp(s, "active") == 0;
}

static bool is_tag(const char *s)
{
    return s[0] != '=' && strchr(s, '=');
}

static int put_number(const struct cli_args *a, json_t *filter, size_t i, const char *text)
{
    uint64_t number = 0;
    int64_t ms;
    bool ok = false;
    if (filters[i].kind == F_SIZE) {
        ok = conf_parse_size(slice_str(text), &number);
    } else if (filters[i].kind == F_NUMBER) {
        ok = slice_u64(slice_str(text), INT32_MAX, &number);
    } else if (conf_parse_duration(slice_str(text), &ms)) {
        ok = true;
        number = (uint64_t)ms / 1000;
    }
    if (!ok)
        return args_wrong(a, "--%s: %s is not a %s", filters[i].option, text,
                          filters[i].kind == F_SIZE     ? "size such as 10M"
                          : filters[i].kind == F_NUMBER ? "number"
                                                        : "duration such as 90s, 10m, 2h, 5d");
    put(filter, filters[i].key, json_integer((json_int_t)number));
    return ARGS_GO_ON;
}

static int put_filter(const struct cli_args *a, json_t *filter, size_t i, const char *text)
{
    if (!text[0])
        return args_wrong(a, "--%s is empty", filters[i].option);
    if (!utf8_text(text))
        return args_wrong(a, "--%s is not UTF-8", filters[i].option);
    switch (filters[i].kind) {
    case F_ID:
        put_id(filter, text);
        return ARGS_GO_ON;
    case F_FILE:
        return put_ids_from(a, filter, text);
    case F_STATE:
        if (!is_state(text))
            return args_wrong(a, "--state: %s is none of ready, waiting, held, active", text);
        break;
    case F_CODE:
        if (!is_code(slice_str(text)))
            return args_wrong(a, "--code: %s is neither a reply code nor 4xx or 5xx", text);
        break;
    case F_SECONDS:
    case F_NUMBER:
    case F_SIZE:
        return put_number(a, filter, i, text);
    case F_TAG:
        if (!is_tag(text))
            return args_wrong(a, "--tag: %s is not of the form KEY=VALUE", text);
        break;
    case F_TEXT:
        break;
    }
    put(filter, filters[i].key, json_string(text));
    return ARGS_GO_ON;
}

json_t *filter_of(const struct cli_args *a, int *ret_exit)
{
    json_t *filter = json_object();
    int rc = ARGS_GO_ON;
    MUST(filter);
    for (size_t k = 0; k < a->n && rc == ARGS_GO_ON; k++)
        for (size_t i = 0; i < sizeof filters / sizeof *filters && rc == ARGS_GO_ON; i++)
            if (strcmp(a->names[k], filters[i].option) == 0)
                rc = put_filter(a, filter, i, a->values[k]);
    for (int i = 0; i < a->n_words && rc == ARGS_GO_ON; i++) {
        if (!a->words[i][0] || !utf8_text(a->words[i]))
            rc = args_wrong(a, "that is no id");
        else
            put_id(filter, a->words[i]);
    }
    if (rc == ARGS_GO_ON)
        return filter;
    json_decref(filter);
    *ret_exit = rc;
    return NULL;
}
