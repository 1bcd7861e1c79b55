#include "relay/mail/verp.h"
#include "relay/mail/address.h"

enum { PATH_MAX_OCTETS = 254 };

/* What can stand inside of another address as it is. */
static bool is_plain(struct slice s, struct address *ret)
{
    return address_parse(s, ret) && ret->domain.n > 0 && !ret->literal && ret->local.p[0] != '"';
}

bool verp_write(struct buf *out, struct slice sender, struct slice recipient,
                const char *delimiters)
{
    struct address from, to, whole;
    struct buf path = BUF_MAX(PATH_MAX_OCTETS);
    bool ok = is_plain(sender, &from) && is_plain(recipient, &to);
    if (ok) {
        buf_add(&path, from.local);
        buf_add_u8(&path, (uint8_t)delimiters[0]);
        buf_add(&path, to.local);
        buf_add_u8(&path, (uint8_t)delimiters[1]);
        buf_add(&path, to.domain);
        buf_add_u8(&path, '@');
        buf_add(&path, from.domain);
        ok = !path.overflow && address_parse(buf_slice(&path), &whole) &&
             buf_add(out, buf_slice(&path));
    }
    buf_done(&path);
    return ok;
}
