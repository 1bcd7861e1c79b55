/* What may be imported: pure judgement of an envelope's parts, and the list of its recipients. */
#pragma once
#include "relay/conf/conf.h"
#include "relay/spooler/spooler.h"

/* RFC 3461: ENVID at most 100 characters, ORCPT 500. */
enum { IMPORT_ENVID_MAX = 100, IMPORT_ORCPT_MAX = 500, IMPORT_USER_MAX = 64 };
/* What max-header-size can be, wherever the message comes from. Of a longer header section the rest
 * is taken as it is, and not looked at: no Message-ID is known of it. */
enum { IMPORT_HEADER_MAX = 204800 };

/* An address, or "" (the null reverse-path). utf8: one that only SMTPUTF8 can carry is one, too. */
bool import_sender_ok(struct slice s, bool utf8);
/* Printable ASCII, not empty. */
bool import_text_ok(struct slice s, size_t max);
/* NULL, or what is wrong with it. */
const char *import_rcpt_wrong(const struct envelope_rcpt *r, bool utf8);

/* Why a message could not be stored now, by the spooler's error. */
void import_disk_text(char *ret, size_t size, int error);

/* The most that any listener would take. */
struct import_limits {
    uint64_t max_message_size;
    size_t max_recipients;
};
struct import_limits import_limits(const struct conf *c);

/* In order, none twice; found by a table of their places, open addressing, at most half full. The
 * texts are borrowed. Zeroed: empty. */
struct import_rcpts {
    struct envelope_rcpt *at;
    size_t n, cap;
    uint32_t *slots; /* place + 1; 0: free */
    size_t n_slots;  /* a power of two */
};
bool import_rcpts_has(const struct import_rcpts *l, struct slice address);
void import_rcpts_add(struct import_rcpts *l, const struct envelope_rcpt *r);
void import_rcpts_done(struct import_rcpts *l);

/* import_mend.c: the header section of a message that is handed in for the first time. In: what a
 * field of ours says (borrowed). Out: the beginning of the content as it is stored, or why not. */
enum { IMPORT_WHY_SIZE = 300 };
struct header_scan;
struct dkim_ring;
struct dkim_sign;
struct import_mend {
    struct slice queue_id, hostname, sender, recipient; /* recipient "": several */
    struct wall now;
    const struct dkim_ring *keys; /* NULL: none */
    struct buf content, tags;
    /* Who signs it, fed with what of the body is there, the caller's; NULL: nobody. Where in the
     * content its fields belong. */
    struct dkim_sign *sign;
    size_t sign_at;
    bool tls_optional;
    char why[IMPORT_WHY_SIZE];
};
/* content: from its first octet to beyond the header section, whose end the scan has seen; the copy
 * of the Message-ID in the scan is that of the stored message then. False: *m says why. */
bool import_mend(struct import_mend *m, struct header_scan *scan, struct slice content);
void import_mend_done(struct import_mend *m);
