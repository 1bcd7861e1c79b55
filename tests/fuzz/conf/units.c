/* Laws: a size or duration is bounded, and digits with a unit only; what passes with a unit passes
 * without blanks around it alone. */
#include "relay/base/must.h"
#include "relay/conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_of(data, size);
    uint64_t bytes = 7;
    int64_t ms = 7;
    if (conf_parse_size(s, &bytes))
        MUST(bytes <= INT64_MAX && size > 0 && data[0] >= '0' && data[0] <= '9');
    else
        MUST(bytes == 7);
    if (conf_parse_duration(s, &ms))
        MUST(ms >= 0 && ms <= INT64_C(3153600000000) && size > 1 && data[0] <= '9');
    else
        MUST(ms == 7);
    return 0;
}
