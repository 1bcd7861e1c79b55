/* A queue that goes out over the control socket. If this breaks, an export mixes messages up. */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "tests/unit/admin/world.h"

/* Three messages, the second one damaged behind its first piece. */
static void see_export(struct spooler_export *x)
{
    static const uint64_t ids[] = {5, 666, 700};
    free(x->rcpts);
    x->rcpts = NULL;
    x->n_rcpts = 0;
    x->id = x->next = 0;
    for (size_t i = 0; i < 3 && !x->id; i++)
        if (ids[i] > x->after)
            x->id = x->next = ids[i];
    x->size = CONTENT_SIZE;
    if (x->id == 0)
        return;
    x->rcpts = calloc(2, sizeof *x->rcpts);
    x->n_rcpts = 2;
    x->rcpts[1].held = true;
    x->rcpts[0].code = 450;
}

static const struct port *my_part(struct spooler *s, struct msg *m)
{
    (void)s;
    see_export((void *)m);
    return ((struct spooler_export *)(void *)m)->reply;
}

static void test_export(void **state)
{
    (void)state;
    FILE *f = call();
    play = my_part;
    say(f, "{\"id\":1,\"verb\":\"queue.export\",\"args\":{}}");
    static const char *const how[] = {"whole", "damaged", "whole"};
    unsigned messages = 0, rcpts = 0;
    uint64_t bytes = 0;
    for (json_t *o; (o = read_object(f)); json_decref(o)) {
        const json_t *row = json_object_get(o, "row");
        const char *data = json_string_value(json_object_get(row, "data_base64"));
        if (!row) {
            assert_int_equal(number(json_object_get(o, "done"), "messages"), 3);
            json_decref(o);
            break;
        }
        if (json_object_get(row, "queue_id")) {
            assert_int_equal(number(row, "size"), CONTENT_SIZE);
            rcpts = 0;
            bytes = 0;
        } else if (json_object_get(row, "recipient")) {
            assert_string_equal(string(row, "state"), rcpts ? "held" : "waiting");
            assert_int_equal(json_object_get(row, "smtp_code") != NULL, rcpts == 0);
            rcpts++;
        } else if (data) {
            DEFER(buf_done) struct buf piece = BUF_MAX(1 << 20);
            assert_true(base64_decode(&piece, slice_str(data)));
            for (size_t i = 0; i < piece.n; i++)
                if (piece.p[i] != content_at(bytes + i))
                    fail_msg("byte %zu", (size_t)bytes + i);
            bytes += piece.n;
        } else {
            assert_string_equal(string(row, "content"), how[messages]);
            assert_int_equal(bytes, messages == 1 ? PIECE_BYTES : CONTENT_SIZE);
            assert_int_equal(rcpts, 2);
            messages++;
        }
    }
    assert_int_equal(messages, 3);
    say(f, "{\"id\":2,\"verb\":\"queue.export\",\"args\":{\"all\":true}}");
    struct answer a = hear(f);
    assert_false(a.ok);
    answer_done(&a);
    /* A client that goes away in the middle. */
    say(f, "{\"id\":3,\"verb\":\"queue.export\"}");
    json_decref(read_object(f));
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_export)};
    return run_with_admin(tests, sizeof tests / sizeof *tests);
}
