#include "relay/mail/dsn_words.h"

/* For failures; a class without a row speaks like CLASS_OTHER. */
static const struct words {
    enum verdict_class class;
    const char *happened, *next;
} words[] = {
    {CLASS_BAD_MAILBOX, "The message was not delivered: the receiver knows no such mailbox.",
     "Please check the part before the @ for typing errors, or ask the recipient for the right "
     "address. Remove the address from your lists if it stays wrong."},
    {CLASS_BAD_DOMAIN, "The message was not delivered: the domain of this address takes no mail.",
     "Please check the part behind the @ for typing errors."},
    {CLASS_FULL, "The message was not delivered: the mailbox is full.",
     "Please try again later, or reach the recipient in another way."},
    {CLASS_POLICY, "The message was not delivered: the receiver's rules do not allow it.",
     "Please ask the receiver's administrator, and quote the answer above."},
    {CLASS_SPAM, "The message was not delivered: the receiver took it for unwanted mail.",
     "Please check the message's content and links; if it is legitimate, ask the receiver's "
     "administrator and quote the answer above."},
    {CLASS_BLOCK, "The message was not delivered: the receiver blocks mail from this server.",
     "This is not about your message. Please tell your postmaster and quote the answer above."},
    {CLASS_RATE, "The message was not delivered: the receiver takes mail only slowly.",
     "Please send it again later; if it repeats, tell your postmaster."},
    {CLASS_AUTH, "The message was not delivered: the receiver could not verify the sender.",
     "Please tell your postmaster (SPF, DKIM, DMARC or the login at the next server)."},
    {CLASS_CONTENT, "The message was not delivered: the receiver does not accept its content.",
     "Please check attachments and format, and send it again in another form."},
    {CLASS_SIZE, "The message was not delivered: it is larger than the receiver takes.",
     "Please send it in smaller parts, or send a link to the file."},
    {CLASS_NETWORK, "The message was not delivered: the receiver could not be reached.",
     "Please check the part behind the @, and send the message again later."},
    {CLASS_TLS, "The message was not delivered: no safe connection to the receiver was possible.",
     "Please tell your postmaster; the message was not sent unprotected."},
    {CLASS_EXPIRED, "The message was not delivered in time, and no more attempts are made.",
     "Please send it again, or reach the recipient in another way."},
    {CLASS_ADMIN, "The message was not delivered: it was stopped at this server.",
     "Please ask your postmaster."},
    {CLASS_OTHER, "The message was not delivered.",
     "Please ask your postmaster, and quote what is said above."},
};

static const struct words *words_of(enum verdict_class class)
{
    enum { N = sizeof words / sizeof words[0] };
    for (size_t i = 0; i < N; i++)
        if (words[i].class == class)
            return &words[i];
    return &words[N - 1];
}

static enum verdict_class class_of(const struct verdict *v)
{
    return v ? v->class : CLASS_OTHER;
}

/* Failed with a temporary status: time ran out, whatever the class. */
enum verdict_class dsn_words_class(const struct verdict *v)
{
    const bool ran_out = v && v->enhanced.class == 4 && v->kind != VERDICT_FAILED;
    return ran_out ? CLASS_EXPIRED : class_of(v);
}

const char *dsn_words_intro(size_t failed, size_t delayed, size_t relayed)
{
    if (failed && !delayed && !relayed)
        return "Your message could not be delivered to the recipients named below. No further "
               "attempt is made for them.";
    if (failed && !relayed)
        return "Your message could not be delivered to some of the recipients named below; for "
               "others it is still being tried.";
    if (failed)
        return "Your message could not be delivered to some of the recipients named below; what "
               "became of it is said for each.";
    if (!relayed)
        return "Your message is not delivered yet to the recipients named below. This is a notice "
               "only: you do not need to send it again.";
    if (!delayed)
        return "Your message was handed on for the recipients named below. This is a notice only.";
    return "Your message was handed on for some of the recipients named below; for others it is "
           "still being tried. This is a notice only.";
}

const char *dsn_words_happened(enum dsn_action action, const struct verdict *v)
{
    if (action == DSN_DELAYED)
        return "The message is delayed.";
    if (action == DSN_RELAYED)
        return "The message was handed to the next mail server.";
    if (action == DSN_DELIVERED)
        return "The message was delivered.";
    return words_of(dsn_words_class(v))->happened;
}

const char *dsn_words_next(enum dsn_action action, const struct verdict *v)
{
    if (action == DSN_DELAYED)
        return "You need not do anything: further attempts follow by themselves.";
    if (action == DSN_RELAYED)
        return "You need not do anything. That it has come to the mailbox may not be told to you: "
               "not "
               "every server sends such notices.";
    if (action == DSN_DELIVERED)
        return "You need not do anything.";
    return words_of(class_of(v))->next;
}

const char *dsn_words_double_intro(void)
{
    return "A report on undelivered mail could not be delivered itself to the sender of that mail. "
           "It is told to you, and to nobody else; no further attempt is made.";
}

const char *dsn_words_double_next(void)
{
    return "The sender's address may be wrong or forged. If many of these come, the delivery log "
           "tells who hands in mail under it.";
}
