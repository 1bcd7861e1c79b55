/* Room that is kept on the spool's disk (checklist 34, 100). If this breaks, the disk is filled to
 * the last, and nothing can be marked as delivered; or mail is refused while there is room. */
#include "relay/spooler/core.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants the three above first */
#include <cmocka.h>

/* 34: the room that is kept, in octets and in files; a file system that cannot say is not full. */
static void room_that_is_kept(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes, files;
        uint64_t min;
        bool was_full;
        const char *says; /* a word of it; NULL: there is room */
    } cases[] = {
        {16000, 1000, 16000, false, NULL},
        {15999, 1000, 16000, false, "spool.min-free"},
        {16999, 1000, 16000, true, "spool.min-free"}, /* no flapping */
        {17000, 1000, 16000, true, NULL},
        {1, 1000, 0, true, NULL},
        {16000, 100, 16000, false, NULL},
        {16000, 99, 16000, false, "inode"},
        {16000, 0, 0, false, "inode"},
        {-EIO, -EIO, 16000, false, NULL},
        {-EIO, 99, 16000, false, "inode"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *said =
            trouble_no_room(cases[i].bytes, cases[i].files, cases[i].min, cases[i].was_full);
        assert_int_equal(!said, !cases[i].says);
        assert_true(!said || strstr(said, cases[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(room_that_is_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
