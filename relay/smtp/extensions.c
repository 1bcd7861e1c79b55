#include "relay/smtp/extensions.h"

static const struct slice keywords[SMTP_EXTENSIONS] = {
#define X(name, keyword) {(const uint8_t *)keyword, sizeof keyword - 1},
#include "relay/smtp/extensions.def"
#undef X
};

struct slice smtp_extension_keyword(enum smtp_extension_index i)
{
    return keywords[i];
}

unsigned smtp_extension_find(struct slice keyword)
{
    for (size_t i = 0; i < SMTP_EXTENSIONS; i++)
        if (slice_ieq(keywords[i], keyword))
            return 1U << i;
    return 0;
}
