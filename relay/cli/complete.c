/*
 * `completion`: what a shell needs to complete verbs, options and the values that options take.
 * Made from the tables of verbs and options, so that a new one is there at once.
 */
#include "relay/base/must.h"
#include "relay/cli/private.h"

/* Values that are one of some words; FILES: a path. Other options' values nobody can know. */
static const char FILES[] = "";
static const struct {
    const char *option, *words;
} values[] = {
    {"--state", "ready waiting held active"},
    {"--sort", "due age size"},
    {"--code", "4xx 5xx"},
    {"--event", "accepted rejected deferred delivered relayed bounced expired cancelled suppressed "
                "held released rescheduled rerouted dsn_queued service_started service_stopped "
                "config_reloaded spool_damaged log_opened log_closed"},
    {"--class", "bad_mailbox bad_domain full policy spam block rate auth content size network tls "
                "expired admin other"},
    {"--every", "500ms 1s 2s 10s"},
    {"--type", "rsa ed25519"},
    {"--for", "30m 1h 2h 1d 7d"},
    {"--older-than", "10m 1h 2h 1d"},
    {"--newer-than", "10m 1h 2h 1d"},
    {"--size-ge", "100K 1M 10M"},
    {"--maildir", FILES},
    {"--ids-from", FILES},
    {"--config", FILES},
    {"-c", FILES},
};

static void put_options(const struct cli_verb *v)
{
    for (const struct cli_option *o = v->options; o && o->name; o++)
        if (elsewhere_find(v->name) && o->letter)
            printf(" -%c", o->letter);
        else
            printf(" --%s", o->name);
    fputs(elsewhere_find(v->name) ? " --help" : " --json --help --config", stdout);
}

/* ---- bash and zsh: a function that says which words may follow ---- */

static void put_child(void *group, const struct cli_verb *v, const char *summary)
{
    (void)summary;
    const size_t n = strlen(group);
    if (strncmp(v->name, group, n) == 0 && v->name[n] == ' ')
        printf("%s ", v->name + n + 1);
}

static void put_case(void *ctx, const struct cli_verb *v, const char *summary)
{
    (void)ctx, (void)summary;
    printf("    '%s') echo '", v->name);
    if (!strchr(v->name, ' '))
        cli_each_verb(put_child, (void *)(uintptr_t)v->name);
    put_options(v);
    puts("' ;;");
}

static void put_name(void *ctx, const struct cli_verb *v, const char *summary)
{
    (void)ctx, (void)summary;
    if (!strchr(v->name, ' '))
        printf("%s ", v->name);
}

static void put_words(void)
{
    puts("_postwain_words() {\n    case $1 in");
    fputs("    '') echo '", stdout);
    cli_each_verb(put_name, NULL);
    puts("--help --version' ;;");
    cli_each_verb(put_case, NULL);
    puts("    esac\n}");
    puts("_postwain_values() {\n    case $1 in");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].words != FILES)
            printf("    %s) echo '%s' ;;\n", values[i].option, values[i].words);
    puts("    esac\n}");
    puts("_postwain_verb() { # the words of the verb among these\n"
         "    local verb= word\n"
         "    for word in \"$@\"; do\n"
         "        [ -n \"$(_postwain_words \"${verb:+$verb }$word\")\" ] || break\n"
         "        verb=\"${verb:+$verb }$word\"\n"
         "    done\n"
         "    echo \"$verb\"\n"
         "}");
}

static void put_bash(void)
{
    puts("# bash completion for postwain: eval \"$(postwain completion bash)\"");
    put_words();
    puts("_postwain() {\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} list\n"
         "    list=$(_postwain_values \"$prev\")\n"
         "    if [ -z \"$list\" ]; then\n"
         "        list=$(_postwain_words \"$(_postwain_verb "
         "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\")\n"
         "        case $prev in");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].words == FILES)
            printf("        %s) list= ;;\n", values[i].option);
    puts("        esac\n"
         "    fi\n"
         "    COMPREPLY=($(compgen -W \"$list\" -- \"$cur\"))\n"
         "}\n"
         "complete -o default -F _postwain postwain");
}

static void put_zsh(void)
{
    puts("#compdef postwain\n# zsh completion for postwain: a file _postwain in $fpath");
    put_words();
    puts("_postwain() {\n"
         "    local list=$(_postwain_values \"${words[CURRENT-1]}\")\n"
         "    case ${words[CURRENT-1]} in");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].words == FILES)
            printf("    %s) _files; return ;;\n", values[i].option);
    puts("    esac\n"
         "    [[ -n $list ]] || list=$(_postwain_words \"$(_postwain_verb "
         "\"${(@)words[2,CURRENT-1]}\")\")\n"
         "    compadd -- ${=list} || _files\n"
         "}\n"
         "if [ \"$funcstack[1]\" = _postwain ]; then _postwain \"$@\"; else compdef _postwain "
         "postwain; fi");
}

/* ---- fish: a line for each ---- */

static void put_quoted(const char *text)
{
    putchar('\'');
    for (; *text; text++)
        if (*text == '\'' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar(*text);
    putchar('\'');
}

static void put_fish_option(const char *verb, const struct cli_option *o)
{
    char name[80];
    printf("complete -c postwain -n '__postwain_at %s' -l %s", verb, o->name);
    if (o->letter)
        printf(" -s %c", o->letter);
    snprintf(name, sizeof name, "--%s", o->name);
    const char *words = NULL;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (strcmp(values[i].option, name) == 0)
            words = values[i].words;
    if (o->has_value && words == FILES)
        fputs(" -rF", stdout);
    else if (o->has_value)
        fputs(" -x", stdout);
    if (words && words != FILES)
        printf(" -a '%s'", words);
    putchar('\n');
}

static void put_fish_verb(void *ctx, const struct cli_verb *v, const char *summary)
{
    (void)ctx;
    const char *space = strchr(v->name, ' ');
    const int n = space ? (int)(space - v->name) : 0;
    printf("complete -c postwain -n '__postwain_at %.*s' -f -a '%s'", n, v->name,
           space ? space + 1 : v->name);
    if (!space) {
        fputs(" -d ", stdout);
        put_quoted(summary);
    }
    putchar('\n');
    for (const struct cli_option *o = v->options; o && o->name; o++)
        put_fish_option(v->name, o);
}

static void put_fish(void)
{
    puts("# fish completion for postwain: postwain completion fish | source");
    puts("function __postwain_at # the words so far that are no options are these\n"
         "    set -l words\n"
         "    for word in (commandline -opc)[2..]\n"
         "        string match -q -- '-*' $word; and break\n"
         "        set -a words $word\n"
         "    end\n"
         "    test \"$words\" = \"$argv\"\n"
         "end");
    cli_each_verb(put_fish_verb, NULL);
    puts("complete -c postwain -l json\n"
         "complete -c postwain -l help -s h\n"
         "complete -c postwain -l config -s c -rF");
}

int verb_completion(const struct cli_verb *v, int argc, char **argv)
{
    static const struct {
        const char *shell;
        void (*put)(void);
    } shells[] = {{"bash", put_bash}, {"zsh", put_zsh}, {"fish", put_fish}};
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    for (size_t i = 0; a.n_words == 1 && i < sizeof shells / sizeof *shells; i++)
        if (strcmp(a.words[0], shells[i].shell) == 0) {
            shells[i].put();
            return CLI_DONE;
        }
    return args_wrong(&a, "say for which shell: bash, zsh or fish");
}
