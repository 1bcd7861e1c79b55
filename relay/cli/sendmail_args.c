/*
 * Sendmail's options, as programs of forty years give them: letters that may stand together, values
 * that may stand behind their letter or apart, and many that mean nothing here and are passed over.
 * Options end with the first recipient: what a program puts behind its own options as an address
 * never becomes one.
 */
#include "relay/cli/sendmail.h"
#include <getopt.h>
#include <strings.h>

/* "::": the value, if any, stands right behind the letter. */
static const char letters[] = "+:A:B:C:F:GIL:N:O:R:UV:X:b:c:d::e:f:h:imno:p:q::r:tvx";

static int wrong(struct sendmail_args *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int wrong(struct sendmail_args *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->problem, sizeof a->problem, fmt, ap);
    va_end(ap);
    return EX_USAGE;
}

static int take_mode(struct sendmail_args *a, const char *value)
{
    static const struct {
        const char *value;
        enum sendmail_mode mode;
    } modes[] = {
        {"m", SENDMAIL_SEND}, {"s", SENDMAIL_SMTP}, {"p", SENDMAIL_LIST}, {"i", SENDMAIL_ALIASES}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].value, value) == 0) {
            a->mode = modes[i].mode;
            return EX_OK;
        }
    if (*value == 'd' || *value == 'D')
        return wrong(a, "-b%s: the daemon is started with `postwain serve`", value);
    return wrong(a, "-b%s: only -bm, -bs, -bp and -bi are known", value);
}

static int take_notify(struct sendmail_args *a, const char *value)
{
    static const struct {
        const char *word;
        unsigned bit;
    } words[] = {{"never", MAIL_NOTIFY_NEVER},
                 {"success", MAIL_NOTIFY_SUCCESS},
                 {"failure", MAIL_NOTIFY_FAILURE},
                 {"delay", MAIL_NOTIFY_DELAY}};
    struct slice rest = slice_str(value);
    unsigned all = 0;
    do {
        struct slice one = slice_trim(slice_cut(&rest, ','));
        size_t i = 0;
        while (i < 4 && !slice_ieq(one, slice_str(words[i].word)))
            i++;
        if (i == 4)
            return wrong(a, "-N %s: give never, or some of success,failure,delay", value);
        all |= words[i].bit;
    } while (rest.n);
    if ((all & MAIL_NOTIFY_NEVER) && all != MAIL_NOTIFY_NEVER)
        return wrong(a, "-N %s: never stands alone", value);
    a->notify = all;
    return EX_OK;
}

static int take_ret(struct sendmail_args *a, const char *value)
{
    if (strcasecmp(value, "full") == 0)
        a->ret = MAIL_RET_FULL;
    else if (strcasecmp(value, "hdrs") == 0)
        a->ret = MAIL_RET_HDRS;
    else
        return wrong(a, "-R %s: give full or hdrs", value);
    return EX_OK;
}

static int take_body(struct sendmail_args *a, const char *value)
{
    if (strcasecmp(value, "8bitmime") == 0)
        a->body = MAIL_BODY_8BITMIME;
    else if (strcasecmp(value, "7bit") == 0)
        a->body = MAIL_BODY_7BIT;
    else
        return wrong(a, "-B %s: give 7BIT or 8BITMIME", value);
    return EX_OK;
}

static int take_envid(struct sendmail_args *a, const char *value)
{
    for (const char *p = value; *p; p++)
        if (*p < 0x21 || *p > 0x7e)
            return wrong(a, "-V %s: an envelope id is printable ASCII without blanks", value);
    if (!*value || strlen(value) > 100)
        return wrong(a, "-V %s: an envelope id has 1 to 100 characters", value);
    a->envid = value;
    return EX_OK;
}

/* -q: now; -qI, -qR, -qS: what matches, now; -q30m: nothing, the queue is run all the time. */
static int take_queue(struct sendmail_args *a, const char *value)
{
    static const char kinds[] = "IRS";
    const char *kind = value && *value ? strchr(kinds, *value) : NULL;
    a->mode = SENDMAIL_FLUSH;
    if (kind && value[1])
        a->only[kind - kinds] = value + 1;
    else if (kind)
        return wrong(a, "-q%s: what follows the letter is missing", value);
    else if (value && *value)
        a->mode = SENDMAIL_NOTHING;
    return EX_OK;
}

/* -oi is -i; all other settings of sendmail's own are passed over. */
static int take_setting(struct sendmail_args *a, const char *value)
{
    if (strcmp(value, "i") == 0)
        a->dot_is_text = true;
    return EX_OK;
}

static int take(struct sendmail_args *a, int letter, const char *value)
{
    switch (letter) {
    case 'b':
        return take_mode(a, value);
    case 'N':
        return take_notify(a, value);
    case 'R':
        return take_ret(a, value);
    case 'B':
        return take_body(a, value);
    case 'V':
        return take_envid(a, value);
    case 'q':
        return take_queue(a, value);
    case 'o':
        return take_setting(a, value);
    case 'I':
        a->mode = SENDMAIL_ALIASES;
        return EX_OK;
    case 'C':
    case 'c':
        a->config = value;
        return EX_OK;
    case 'f':
    case 'r':
        a->sender = value;
        return EX_OK;
    case 'F':
        a->fullname = value;
        return EX_OK;
    default:
        a->from_header |= letter == 't';
        a->dot_is_text |= letter == 'i';
        a->verbose |= letter == 'v';
        a->header_as_is |= letter == 'G';
        return EX_OK;
    }
}

/* Whoever writes -f behind a recipient means the option; behind "--" it is an address. */
static int check_rcpts(struct sendmail_args *a, bool all_are)
{
    for (int i = 0; i < a->n_rcpts && !all_are; i++)
        if (a->rcpts[i][0] == '-')
            return wrong(a, "%.40s: options stand in front of the recipients", a->rcpts[i]);
    if (a->mode == SENDMAIL_SEND && !a->from_header && a->n_rcpts == 0)
        return wrong(a, "name the recipients, or have them taken from the header with -t");
    return EX_OK;
}

int sendmail_args(struct sendmail_args *a, int argc, char **argv)
{
    *a = (struct sendmail_args){.mode = strcmp(argv[0], "mailq") == 0        ? SENDMAIL_LIST
                                        : strcmp(argv[0], "newaliases") == 0 ? SENDMAIL_ALIASES
                                                                             : SENDMAIL_SEND};
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        a->mode = SENDMAIL_HELP;
        return EX_OK;
    }
    optind = 0; /* from the start, as glibc has it */
    opterr = 0;
    int rc = EX_OK;
    for (int c; rc == EX_OK && (c = getopt(argc, argv, letters)) != -1;) {
        if (c == '?')
            rc = wrong(a, "there is no option -%c", optopt);
        else if (c == ':')
            rc = wrong(a, "-%c needs a value", optopt);
        else
            rc = take(a, c, optarg);
    }
    a->rcpts = argv + optind;
    a->n_rcpts = argc - optind;
    if (rc != EX_OK)
        return rc;
    return check_rcpts(a, optind > 1 && strcmp(argv[optind - 1], "--") == 0);
}
