/*
 * The fields that this relay writes: Received (RFC 5321 section 4.4, protocols of RFC 3848), Date
 * and Message-ID (RFC 6409 section 8). Whatever came from the peer goes through ascii.h first: it
 * has no way to end a comment, a field or a line.
 */
#include "relay/base/defer.h"
#include "relay/mail/address.h"
#include "relay/mail/ascii.h"
#include "relay/mail/header.h"

enum { NAME_MAX_OCTETS = 255, TOKEN_MAX = 64, PART_MAX = 400 };

static void add_literal(struct buf *out, struct slice ip)
{
    buf_add_str(out, slice_find(ip, ':') < ip.n ? "[IPv6:" : "[");
    ascii_token(out, ip, TOKEN_MAX);
    buf_add_u8(out, ']');
}

static void fold_buf(struct fold *f, struct buf *b)
{
    fold_word(f, buf_slice(b));
    buf_reset(b);
}

/* "from NAME ([IP])"; a name that is none moves into a comment behind the address. */
static void write_from(struct fold *f, struct buf *part, const struct received_info *r)
{
    bool named = address_is_domain(r->helo);
    if (!named && r->client_ip.n == 0)
        return;
    buf_add_str(part, "from ");
    if (named)
        buf_add(part, r->helo);
    else
        add_literal(part, r->client_ip);
    fold_buf(f, part);
    if (named && r->client_ip.n > 0) {
        buf_add_u8(part, '(');
        add_literal(part, r->client_ip);
        buf_add_u8(part, ')');
        fold_buf(f, part);
    } else if (!named && r->helo.n > 0) {
        buf_add_str(part, "(helo=");
        ascii_comment(part, r->helo, TOKEN_MAX);
        buf_add_str(part, r->helo.n > TOKEN_MAX ? "...)" : ")");
        fold_buf(f, part);
    }
}

/* `word` with its blank and the value stay together. */
static void write_clause(struct fold *f, struct buf *part, const char *word, struct slice value)
{
    if (value.n == 0)
        return;
    buf_add_str(part, word);
    ascii_token(part, value, NAME_MAX_OCTETS);
    fold_buf(f, part);
}

static void write_tls(struct fold *f, struct buf *part, const struct received_info *r)
{
    if (r->tls_version.n == 0)
        return;
    buf_add_str(part, "(using ");
    ascii_token(part, r->tls_version, TOKEN_MAX);
    if (r->tls_cipher.n > 0) {
        buf_add_str(part, " with cipher ");
        ascii_token(part, r->tls_cipher, TOKEN_MAX);
    }
    buf_add_u8(part, ')');
    fold_buf(f, part);
}

static void write_user(struct fold *f, struct buf *part, struct slice user)
{
    if (user.n == 0)
        return;
    buf_add_str(part, "(authenticated sender: ");
    ascii_comment(part, user, TOKEN_MAX);
    buf_add_u8(part, ')');
    fold_buf(f, part);
}

/* The field stays ASCII, whatever an address may have. */
static void write_for(struct fold *f, struct buf *part, struct slice recipient)
{
    struct address a;
    if (!address_parse(recipient, &a))
        return;
    buf_add_str(part, "for <");
    buf_add(part, recipient);
    buf_add_u8(part, '>');
    fold_buf(f, part);
}

void header_write_received(struct buf *out, const struct received_info *r)
{
    DEFER(buf_done) struct buf part = BUF_MAX(PART_MAX);
    char date[WALL_RFC5322_SIZE];
    struct fold f = fold_begin(out, "Received:", "\t");
    write_from(&f, &part, r);
    write_clause(&f, &part, "by ", r->hostname);
    write_clause(&f, &part, "with ", r->protocol);
    write_tls(&f, &part, r);
    write_user(&f, &part, r->user);
    write_clause(&f, &part, "id ", r->queue_id);
    write_for(&f, &part, r->recipient);
    buf_add_u8(out, ';');
    f.column++;
    wall_rfc5322(r->now, date);
    fold_word(&f, slice_str(date));
    fold_end(&f);
}

void header_write_date(struct buf *out, struct wall now)
{
    char date[WALL_RFC5322_SIZE];
    wall_rfc5322(now, date);
    buf_addf(out, "Date: %s\r\n", date);
}

void header_write_message_id(struct buf *out, struct slice queue_id, struct slice hostname)
{
    buf_add_str(out, "Message-ID: <");
    ascii_token(out, queue_id, TOKEN_MAX);
    buf_add_u8(out, '@');
    ascii_token(out, hostname, NAME_MAX_OCTETS);
    buf_add_str(out, ">\r\n");
}
