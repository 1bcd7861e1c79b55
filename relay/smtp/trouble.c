/*
 * (phase, reply) → fate. Two tables and nothing else decide:
 *   grounds[]  what a refusal in that phase speaks about, and whether its 5xx is for ever;
 *   rules[]    why, unless the administrator has a row of his own (relay/base/classes.h); first
 * match wins: enhanced code, code, and the peer's words, which differ from house to house. A
 * temporary refusal for going too fast (CLASS_RATE) slows the whole site down.
 */
#include "relay/smtp/client.h"

static const struct ground {
    enum verdict_scope scope;
    bool soft; /* 5xx is about this host or session, not about the mail: another may take it */
} grounds[] = {
    [PHASE_NONE] = {SCOPE_HOST, true},     [PHASE_CONNECT] = {SCOPE_HOST, true},
    [PHASE_BANNER] = {SCOPE_HOST, true},   [PHASE_EHLO] = {SCOPE_HOST, true},
    [PHASE_STARTTLS] = {SCOPE_HOST, true}, [PHASE_AUTH] = {SCOPE_HOST, true},
    [PHASE_MAIL] = {SCOPE_MESSAGE, false}, [PHASE_RCPT] = {SCOPE_RECIPIENT, false},
    [PHASE_DATA] = {SCOPE_MESSAGE, false}, [PHASE_EOD] = {SCOPE_MESSAGE, false},
};

/* Which enhanced codes a rule is for. VAGUE ones give no reason (x.0.0, x.5.0, x.7.0) or stand for
 * all that a receiver does not like (x.7.1, x.6.0): there the words tell more. */
enum codes { WHATEVER, VAGUE, SUBJECT, EXACT };

struct rule {
    enum phase phase; /* PHASE_NONE: any */
    uint16_t code;    /* 0: any; 4, 5: that class; else this very code */
    enum codes codes;
    uint16_t subject, detail;
    const char *words; /* shell pattern, letter case ignored; NULL: whatever it says */
    enum verdict_class class;
    bool soft; /* temporary although the code is 5xx */
};

#define WORDS(pattern, class_)                                                                     \
    {                                                                                              \
        .codes = VAGUE, .words = "*" pattern "*", .class = CLASS_##class_                          \
    }
#define TEMP_WORDS(pattern, class_)                                                                \
    {                                                                                              \
        .code = 4, .words = "*" pattern "*", .class = CLASS_##class_                               \
    }
#define STATUS(code_, subject_, detail_, class_)                                                   \
    {                                                                                              \
        .code = (code_), .codes = EXACT, .subject = (subject_), .detail = (detail_),               \
        .class = CLASS_##class_                                                                    \
    }
#define FAMILY(code_, subject_, class_)                                                            \
    {                                                                                              \
        .code = (code_), .codes = SUBJECT, .subject = (subject_), .class = CLASS_##class_          \
    }
#define CODE(phase_, code_, class_)                                                                \
    {                                                                                              \
        .phase = PHASE_##phase_, .code = (code_), .class = CLASS_##class_                          \
    }

static const struct rule rules[] = {
    /* Too many recipients in one transaction: the next one may carry them (RFC 5321
       section 4.5.3.1.10). */
    {PHASE_RCPT, 452, EXACT, 5, 3, NULL, CLASS_OTHER, true},
    {PHASE_RCPT, 552, EXACT, 5, 3, NULL, CLASS_OTHER, true},
    {PHASE_RCPT, 452, VAGUE, 0, 0, "*too many rec*", CLASS_OTHER, true},

    /* Greylisting asks for a later try of this very mail, not for fewer of them. */
    TEMP_WORDS("greylist", POLICY),
    TEMP_WORDS("graylist", POLICY),
    TEMP_WORDS("grey list", POLICY),
    TEMP_WORDS("grey-list", POLICY),

    /* Going too fast. */
    FAMILY(421, 7, RATE),
    FAMILY(451, 7, RATE),
    STATUS(450, 2, 1, RATE),
    STATUS(0, 7, 28, RATE),
    TEMP_WORDS("too many", RATE),
    TEMP_WORDS("too fast", RATE),
    TEMP_WORDS("too quickly", RATE),
    TEMP_WORDS("slow down", RATE),
    TEMP_WORDS("throttl", RATE),
    TEMP_WORDS("connection limit", RATE),
    TEMP_WORDS("rate limit", RATE),
    TEMP_WORDS("rate-limit", RATE),
    TEMP_WORDS("ratelimit", RATE),
    TEMP_WORDS(" rate ", RATE),
    TEMP_WORDS("rate exceed", RATE),
    WORDS("rate limit", RATE), /* these in a 5xx too */
    WORDS("too many connections", RATE),
    WORDS("too many sessions", RATE),
    WORDS("throttl", RATE),

    /* Words under a code that says nothing. Block lists first: their names often hold "spam". */
    WORDS("block list", BLOCK),
    WORDS("blocklist", BLOCK),
    WORDS("blacklist", BLOCK),
    WORDS("black list", BLOCK),
    WORDS("blocked using", BLOCK),
    WORDS("listed at", BLOCK),
    WORDS("listed by", BLOCK),
    WORDS("listed in", BLOCK),
    WORDS("dnsbl", BLOCK),
    WORDS("spamhaus", BLOCK),
    WORDS("spamcop", BLOCK),
    WORDS("barracudacentral", BLOCK),
    WORDS("reputation", BLOCK),
    WORDS("spam", SPAM),
    WORDS("unsolicited", SPAM),
    WORDS("junk mail", SPAM),
    WORDS("virus", CONTENT),
    WORDS("malware", CONTENT),
    WORDS("user unknown", BAD_MAILBOX),
    WORDS("unknown user", BAD_MAILBOX),
    WORDS("unknown recipient", BAD_MAILBOX),
    WORDS("no such user", BAD_MAILBOX),
    WORDS("no such recipient", BAD_MAILBOX),
    WORDS("no mailbox", BAD_MAILBOX),
    WORDS("invalid recipient", BAD_MAILBOX),
    WORDS("invalid mailbox", BAD_MAILBOX),
    WORDS("user*not found", BAD_MAILBOX),
    WORDS("recipient*not found", BAD_MAILBOX),
    WORDS("mailbox*not exist", BAD_MAILBOX),
    WORDS("user*not exist", BAD_MAILBOX),
    WORDS("mailbox full", FULL),
    WORDS("mailbox is full", FULL),
    WORDS("quota", FULL),
    WORDS("message size", SIZE),
    WORDS("message too large", SIZE),
    WORDS("message too big", SIZE),
    WORDS("message is too", SIZE),
    WORDS("spf", AUTH),
    WORDS("dkim", AUTH),
    WORDS("dmarc", AUTH),
    WORDS("relay", POLICY),

    /* RFC 3463 and its registry. */
    STATUS(0, 1, 2, BAD_DOMAIN),
    STATUS(0, 1, 10, BAD_DOMAIN),
    STATUS(0, 1, 7, POLICY), /* the sender's address */
    STATUS(0, 1, 8, POLICY),
    FAMILY(0, 1, BAD_MAILBOX),
    STATUS(0, 2, 1, BAD_MAILBOX),
    STATUS(0, 2, 2, FULL),
    STATUS(0, 2, 3, SIZE),
    STATUS(0, 3, 4, SIZE),
    STATUS(0, 4, 6, OTHER), /* a loop at their side */
    FAMILY(0, 4, NETWORK),
    FAMILY(0, 6, CONTENT),
    STATUS(0, 7, 4, TLS),
    STATUS(0, 7, 5, TLS),
    STATUS(0, 7, 6, TLS),
    STATUS(0, 7, 10, TLS),
    STATUS(0, 7, 11, TLS),
    STATUS(0, 7, 30, TLS),
    STATUS(0, 7, 8, AUTH), /* credentials */
    STATUS(0, 7, 9, AUTH),
    STATUS(0, 7, 12, AUTH),
    STATUS(0, 7, 13, AUTH),
    STATUS(0, 7, 20, AUTH), /* DKIM, SPF and the like: RFC 7372 */
    STATUS(0, 7, 21, AUTH),
    STATUS(0, 7, 22, AUTH),
    STATUS(0, 7, 23, AUTH),
    STATUS(0, 7, 24, AUTH),
    STATUS(0, 7, 26, AUTH),
    FAMILY(0, 7, POLICY),

    /* The bare code. */
    CODE(RCPT, 550, BAD_MAILBOX),
    CODE(RCPT, 551, BAD_MAILBOX),
    CODE(RCPT, 553, BAD_MAILBOX),
    CODE(RCPT, 552, FULL),
    CODE(NONE, 552, SIZE),
    CODE(NONE, 521, BAD_DOMAIN), /* RFC 7504 */
    CODE(NONE, 556, BAD_DOMAIN),
    CODE(NONE, 523, TLS),
    CODE(NONE, 538, TLS),
    CODE(NONE, 530, AUTH),
    CODE(NONE, 534, AUTH),
    CODE(NONE, 535, AUTH),
    CODE(NONE, 550, POLICY),
    CODE(NONE, 553, POLICY),
    CODE(NONE, 0, OTHER), /* the last row takes all */
};

static bool is_vague(struct enhanced e)
{
    return (e.detail == 0 && (e.subject == 0 || e.subject == 5 || e.subject == 6)) ||
           (e.subject == 7 && e.detail <= 1);
}

static bool codes_match(const struct rule *r, struct enhanced e)
{
    switch (r->codes) {
    case WHATEVER:
        return true;
    case VAGUE:
        return is_vague(e);
    case SUBJECT:
        return e.subject == r->subject;
    case EXACT:
        return e.subject == r->subject && e.detail == r->detail;
    }
    return false;
}

static const struct rule *find_rule(enum phase phase, const struct smtp_reply *reply,
                                    struct enhanced e)
{
    const struct rule *r = rules;
    for (;; r++) {
        if (r->phase != PHASE_NONE && r->phase != phase)
            continue;
        if (r->code != 0 && r->code != reply->code && r->code != reply->code / 100)
            continue;
        if (codes_match(r, e) && (!r->words || slice_glob(slice_str(r->words), reply->text)))
            return r;
    }
}

/* Missing, or of another class than the reply: x.0.0 (RFC 2034 section 4). */
static struct enhanced enhanced_of(const struct smtp_reply *reply)
{
    uint8_t class = (uint8_t)(reply->code / 100);
    return reply->enhanced.class == class ? reply->enhanced : (struct enhanced){.class = class};
}

/* Too many recipients at a time is what the driver acts on, and 421 ends the session: of those an
 * own row changes the class only. */
static bool may_be_for_ever(const struct ground *g, const struct rule *r,
                            const struct smtp_reply *reply)
{
    return !g->soft && !r->soft && reply->code != 421;
}

static void own_word(const struct class_row *own, bool for_ever, struct verdict *v)
{
    if (!own)
        return;
    v->class = own->class;
    if (own->kind == VERDICT_DEFERRED || (own->kind == VERDICT_FAILED && for_ever))
        v->kind = own->kind;
}

/* A login that we have not made (RFC 4954 section 6), TLS that we do not speak (RFC 3207 section 4;
 * 523: RFC 5248): the configuration lacks something, all mail would hear the same. */
static bool is_demand(const struct smtp_reply *reply)
{
    return reply->code == 530 || reply->code == 523 || reply->code == 534 || reply->code == 535 ||
           reply->code == 538;
}

static struct verdict refusal(const struct smtp_client_conf *conf, enum phase phase,
                              const struct smtp_reply *reply)
{
    const struct ground *ground = &grounds[phase];
    const bool demand = conf->set_up && is_demand(reply);
    struct verdict v = {.kind = VERDICT_FAILED, .scope = ground->scope, .phase = phase};
    v.code = reply->code;
    v.enhanced = enhanced_of(reply);
    const struct rule *rule = find_rule(phase, reply, v.enhanced);
    v.class = rule->class;
    if (reply->code < 500 || ground->soft || rule->soft || demand)
        v.kind = VERDICT_DEFERRED;
    own_word(classes_find(conf->classes, phase, reply->code, v.enhanced, reply->text),
             may_be_for_ever(ground, rule, reply), &v);
    if (reply->code == 421 || /* they hang up, whatever we were saying */
        (demand && v.kind == VERDICT_DEFERRED))
        v.scope = SCOPE_HOST;
    if (v.class == CLASS_RATE && v.kind == VERDICT_DEFERRED)
        v.scope = SCOPE_SITE;
    verdict_set_text(&v, reply->text);
    return v;
}

struct verdict smtp_trouble(enum phase phase, const struct smtp_reply *reply)
{
    const struct smtp_client_conf anybody = {0};
    return smtp_trouble_by(&anybody, phase, reply);
}

struct verdict smtp_trouble_by(const struct smtp_client_conf *conf, enum phase phase,
                               const struct smtp_reply *reply)
{
    unsigned class = reply->code / 100;
    if (class == 4 || class == 5)
        return refusal(conf, phase, reply);
    if (class != 2 || phase != PHASE_EOD)
        return verdict_of_fault(FAULT_SMTP_PROTOCOL, phase, reply->text);
    struct verdict v = {.kind = VERDICT_DELIVERED, .scope = SCOPE_RECIPIENT, .phase = phase};
    v.code = reply->code;
    v.enhanced = enhanced_of(reply);
    verdict_set_text(&v, reply->text);
    return v;
}

bool smtp_trouble_is_no_room(const struct verdict *v)
{
    bool told = v->enhanced.subject == 5 && v->enhanced.detail == 3;
    return v->kind == VERDICT_DEFERRED && v->phase == PHASE_RCPT &&
           ((v->code == 452 && (told || is_vague(v->enhanced))) || (v->code == 552 && told));
}
