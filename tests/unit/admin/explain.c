/* explain over a real socket. If this breaks, a person at the terminal is told half of the way, or
 * the relay falls over one who has left before the answer. */
#include "tests/unit/admin/world.h"

static json_t *all_rows(FILE *f, const char *request, json_t **ret_last)
{
    json_t *rows = json_array();
    say(f, request);
    for (;;) {
        json_t *o = read_object(f), *row = json_object_get(o, "row");
        assert_non_null(o);
        if (!row) {
            json_t *done = json_object_get(o, "done");
            *ret_last = json_incref(done ? done : json_object_get(o, "error"));
            json_decref(o);
            return rows;
        }
        json_array_append(rows, row);
        json_decref(o);
    }
}

static const char *about(const json_t *rows, size_t i)
{
    return string(json_array_get(rows, i), "about");
}

static void of_an_address(void **state)
{
    (void)state;
    FILE *f = call();
    json_t *last;
    json_t *rows =
        all_rows(f, "{\"id\":1,\"verb\":\"explain\",\"args\":{\"address\":\"b@x\"}}", &last);
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(about(rows, 0), "way");
    /* What only the house knows of the site. */
    const json_t *site = json_array_get(rows, 1);
    assert_true(json_is_true(json_object_get(site, "suspended")));
    assert_string_equal(string(site, "reason"), "they sleep");
    assert_int_equal(number(last, "ways"), 1);
    json_decref(rows);
    json_decref(last);
    rows = all_rows(f, "{\"id\":2,\"verb\":\"explain\",\"args\":{\"address\":\"b\"}}", &last);
    assert_int_equal(json_array_size(rows), 0);
    assert_string_equal(string(last, "code"), "usage");
    json_decref(rows);
    json_decref(last);
    fclose(f);
}

/* Two recipients of one domain go one way. */
static void of_a_message(void **state)
{
    (void)state;
    FILE *f = call();
    json_t *last;
    char line[128], id[QUEUE_ID_SIZE];
    queue_id_write(7, id);
    snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"explain\",\"args\":{\"id\":\"%s\"}}", id);
    json_t *rows = all_rows(f, line, &last);
    assert_int_equal(json_array_size(rows), 5);
    static const char *const kinds[] = {"message", "recipient", "recipient", "way", "site"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(about(rows, i), kinds[i]);
    const json_t *message = json_array_get(rows, 0);
    assert_string_equal(string(message, "queue_id"), id);
    assert_string_equal(string(message, "sender"), "a@example.com");
    assert_string_equal(string(json_array_get(rows, 1), "state"), "waiting");
    assert_int_equal(number(last, "ways"), 1);
    assert_int_equal(number(last, "more"), 0);
    json_decref(rows);
    json_decref(last);
    queue_id_write(MESSAGES + 5, id);
    snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"explain\",\"args\":{\"id\":\"%s\"}}", id);
    rows = all_rows(f, line, &last);
    assert_string_equal(string(last, "code"), "not-found");
    json_decref(rows);
    json_decref(last);
    fclose(f);
}

/* He hears that he is not forgotten; when he has gone the answer is not waited for. */
static void who_asked_has_left(void **state)
{
    (void)state;
    FILE *f = call(), *other = call();
    say(f, "{\"id\":1,\"verb\":\"explain.probe\",\"args\":{\"address\":\"slow@x\"}}");
    while (!atomic_load(&slow_answer))
        usleep(1000);
    json_t *o = read_object(f);
    assert_non_null(json_object_get(o, "progress"));
    json_decref(o);
    say(other, "{\"id\":1,\"verb\":\"status\"}");
    struct answer a = hear(other); /* and the others are served */
    assert_true(a.ok);
    answer_done(&a);
    assert_int_equal(atomic_load(&stopped), 0);
    fclose(f);
    for (int i = 0; i < 60000 && atomic_load(&stopped) == 0; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&stopped), 1);
    say(other, "{\"id\":2,\"verb\":\"explain\",\"args\":{\"address\":\"b@x\"}}");
    a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    fclose(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_an_address),
        cmocka_unit_test(of_a_message),
        cmocka_unit_test(who_asked_has_left),
    };
    return run_with_admin(tests, sizeof tests / sizeof *tests);
}
