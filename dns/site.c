#include "dns/site.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include <inttypes.h>
#include <stdio.h>

enum { SITE_TEXT_MAX = 64 * 1024, SITE_CUT = 480 };

static struct slice behind_first_label(struct slice name)
{
    slice_cut(&name, '.');
    return name;
}

static bool has_two_labels(struct slice name)
{
    return slice_find(name, '.') < name.n;
}

static bool lies_under(struct slice name, struct slice suffix)
{
    return name.n > suffix.n + 1 && name.p[name.n - suffix.n - 1] == '.' &&
           slice_iends(name, suffix);
}

/* Every host keeps one label at least in front of it; empty when fewer than two labels are shared.
 */
static struct slice common_suffix(const char *const *names, size_t n)
{
    if (n < 2)
        return SLICE_NONE;
    struct slice suffix = behind_first_label(slice_str(names[0]));
    for (size_t i = 1; i < n; i++)
        while (suffix.n && !lies_under(slice_str(names[i]), suffix))
            suffix = behind_first_label(suffix);
    return has_two_labels(suffix) ? suffix : SLICE_NONE;
}

static uint64_t fnv1a(struct slice s)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < s.n; i++)
        hash = (hash ^ s.p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

void site_name(const char *const *names, size_t n, char ret_site[SITE_SIZE])
{
    DEFER(buf_done) struct buf b = BUF_MAX(SITE_TEXT_MAX);
    struct slice suffix = common_suffix(names, n);
    for (size_t i = 0; i < n; i++) {
        struct slice name = slice_str(names[i]);
        if (i > 0)
            buf_add_u8(&b, suffix.n ? '|' : ',');
        else if (suffix.n)
            buf_add_u8(&b, '(');
        buf_add(&b, slice_head(name, suffix.n ? name.n - suffix.n - 1 : name.n));
    }
    if (suffix.n) {
        buf_add_str(&b, ").");
        buf_add(&b, suffix);
    }
    struct slice text = buf_slice(&b);
    if (text.n < SITE_SIZE)
        snprintf(ret_site, SITE_SIZE, "%.*s", SLICE_ARG(text));
    else
        snprintf(ret_site, SITE_SIZE, "%.*s~%016" PRIx64, SLICE_ARG(slice_head(text, SITE_CUT)),
                 fnv1a(text));
}
