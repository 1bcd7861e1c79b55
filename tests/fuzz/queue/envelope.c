/* Any bytes as an envelope: read or refused, and what was read is written and read again the same.
 */
#include "queue/envelope.h"
#include "relay/base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct envelope e, again;
    if (!envelope_read(slice_of(data, size), &e))
        return 0;
    MUST(e.n_rcpts >= 1 && e.n_rcpts <= 65535);
    struct buf out = BUF_MAX(SIZE_MAX / 2), twice = BUF_MAX(SIZE_MAX / 2);
    envelope_write(&out, &e);
    MUST(envelope_read(buf_slice(&out), &again));
    MUST(again.n_rcpts == e.n_rcpts && slice_eq(again.sender, e.sender) && again.size == e.size);
    envelope_write(&twice, &again);
    MUST(slice_eq(buf_slice(&out), buf_slice(&twice)));
    envelope_done(&e);
    envelope_done(&again);
    buf_done(&out);
    buf_done(&twice);
    return 0;
}
