#include "relay/base/must.h"
#include "relay/mail/dkim_canon.h"
#include "relay/mail/dkim_priv.h"
#include "relay/mail/header.h"

static const struct {
    struct slice name;
    bool more;
} known[] = {
#define X(name_, more_) {{(const uint8_t *)name_, sizeof name_ - 1}, more_},
#include "relay/mail/dkim_fields.def"
#undef X
};
enum { KNOWN = sizeof known / sizeof *known };
_Static_assert(KNOWN <= DKIM_FIELD_NAMES, "a row each");

void dkim_fields_look(struct dkim_fields *f, struct slice section)
{
    struct header_field field;
    while (header_next(&section, &field)) {
        size_t i = 0;
        while (i < KNOWN && !slice_ieq(known[i].name, field.name))
            i++;
        if (i < KNOWN)
            f->rows[i].raw[f->rows[i].n++ % DKIM_INSTANCES_MAX] = field.raw;
    }
}

static size_t kept(const struct dkim_fields *f, size_t i)
{
    return f->rows[i].n < DKIM_INSTANCES_MAX ? f->rows[i].n : DKIM_INSTANCES_MAX;
}

/* One more than there are: a receiver finds none for it. Where not all are signed it would find
 * one. */
static size_t times(const struct dkim_fields *f, size_t i)
{
    return kept(f, i) + (known[i].more && f->rows[i].n <= DKIM_INSTANCES_MAX);
}

void dkim_fields_names(const struct dkim_fields *f, struct buf *out)
{
    for (size_t i = 0; i < KNOWN; i++)
        for (size_t k = 0; k < times(f, i); k++) {
            if (out->n > 0)
                buf_add_u8(out, ':');
            for (size_t at = 0; at < known[i].name.n; at++)
                buf_add_u8(out, byte_lower(known[i].name.p[at]));
        }
}

void dkim_fields_canon(const struct dkim_fields *f, struct buf *out)
{
    for (size_t i = 0; i < KNOWN; i++)
        for (size_t k = 1; k <= kept(f, i); k++) {
            dkim_canon_field(out, f->rows[i].raw[(f->rows[i].n - k) % DKIM_INSTANCES_MAX]);
            buf_add_str(out, "\r\n");
        }
    MUST(!out->overflow);
}
