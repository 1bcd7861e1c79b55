/* What a server can offer, as a set: SMTP_DSN | SMTP_SIZE … (extensions.def). */
#pragma once
#include "relay/base/slice.h"

enum smtp_extension_index {
#define X(name, keyword) SMTP_INDEX_##name,
#include "relay/smtp/extensions.def"
#undef X
    SMTP_EXTENSIONS
};

enum smtp_extension {
#define X(name, keyword) SMTP_##name = 1 << SMTP_INDEX_##name,
#include "relay/smtp/extensions.def"
#undef X
    SMTP_EVERY_EXTENSION = (1 << SMTP_EXTENSIONS) - 1
};

struct slice smtp_extension_keyword(enum smtp_extension_index i);
/* The extension of a keyword, without regard to letter case; 0: unknown. */
unsigned smtp_extension_find(struct slice keyword);
