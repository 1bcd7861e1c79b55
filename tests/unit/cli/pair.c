/* The files of an exported queue. If this breaks, a folder from elsewhere makes the importer read
 * what it must not, or an export cannot be imported again. */
#include "relay/cli/pair.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "/tmp/postwain-unit-pair"
#define ID "0D3S80XJ80001"

static const char good[] =
    "{\"v\":1,\"queue_id\":\"" ID "\",\"sender\":\"\",\"user\":\"u\",\"envid\":\"e\",\"size\":9,"
    "\"expires\":\"2030-01-02T03:04:05.6Z\",\"new\":{\"key\":[]},"
    "\"recipients\":[{\"recipient\":\"a@b\",\"orcpt\":\"rfc822;a\",\"attempt\":3},"
    "{\"recipient\":\"c@d\"}]}";

static int folder = -1;

static void write_file(const char *name, const void *p, size_t n)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    close(fd);
}

static int start(void **state)
{
    (void)state;
    mkdir(FOLDER, 0700);
    folder = open(FOLDER, O_RDONLY | O_DIRECTORY);
    return folder < 0;
}

static int end(void **state)
{
    (void)state;
    close(folder);
    return system("rm -rf " FOLDER);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum pair_part part;
    } rows[] = {
        {ID ".json", PAIR_JSON},
        {ID ".eml", PAIR_EML},
        {ID, PAIR_NONE},
        {ID ".", PAIR_NONE},
        {ID ".JSON", PAIR_NONE},
        {ID ".json.tmp", PAIR_NONE},
        {"." ID ".json.tmp", PAIR_NONE},
        {ID "0.json", PAIR_NONE},
        {"0d3s80xj80001.json", PAIR_NONE}, /* one id, one name */
        {"O" ID ".json", PAIR_NONE},
        {"../" ID ".json", PAIR_NONE},
        {"..", PAIR_NONE},
        {"", PAIR_NONE},
        {"imported", PAIR_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t id = 0;
        char text[QUEUE_ID_SIZE];
        if (pair_part_of(rows[i].name, &id) != rows[i].part)
            fail_msg("%s", rows[i].name);
        if (rows[i].part == PAIR_NONE)
            continue;
        queue_id_write(id, text);
        assert_string_equal(text, ID);
    }
}

static void test_only_files(void **state)
{
    (void)state;
    uint64_t size = 0;
    write_file("plain", "12345", 5);
    MUST(symlinkat("plain", folder, "link") == 0 && symlinkat("/etc/passwd", folder, "far") == 0);
    MUST(mkfifoat(folder, "pipe", 0600) == 0 && mkdirat(folder, "folder", 0700) == 0);
    int fd = pair_open(folder, "plain", &size);
    assert_true(fd >= 0 && size == 5);
    close(fd);
    assert_int_equal(pair_open(folder, "link", &size), -ELOOP);
    assert_int_equal(pair_open(folder, "far", &size), -ELOOP);
    assert_int_equal(pair_open(folder, "pipe", &size), -EINVAL); /* and it does not wait for it */
    assert_int_equal(pair_open(folder, "folder", &size), -EINVAL);
    assert_int_equal(pair_open(folder, "none", &size), -ENOENT);
}

static json_t *load(const void *text, size_t n, char problem[PAIR_PROBLEM_SIZE])
{
    problem[0] = 0;
    write_file(ID ".json", text, n);
    json_t *file = pair_load(folder, ID, problem);
    assert_true((file == NULL) == (problem[0] != 0));
    return file;
}

/* Any prefix and any changed byte is an envelope that import.begin can be asked with, or told. */
static void test_damaged(void **state)
{
    (void)state;
    char problem[PAIR_PROBLEM_SIZE], copy[sizeof good];
    for (size_t n = 0; n < sizeof good - 1; n++)
        assert_null(load(good, n, problem));
    for (size_t i = 0; i < (sizeof good - 1) * 3; i++) {
        static const int changes[] = {1, 0x20, 0x5b};
        memcpy(copy, good, sizeof good);
        copy[i / 3] = (char)(copy[i / 3] ^ changes[i % 3]);
        json_t *file = load(copy, sizeof good - 1, problem);
        if (!file)
            continue;
        json_t *args = pair_begin(file, (struct wall){0}, false);
        assert_true(json_integer_value(json_object_get(args, "expires_s")) >= 1);
        assert_true(json_integer_value(json_object_get(args, "size")) >= 1);
        json_decref(args);
        json_decref(file);
    }
}

static void test_begin(void **state)
{
    (void)state;
    char problem[PAIR_PROBLEM_SIZE];
    json_t *file = load(good, sizeof good - 1, problem);
    assert_non_null(file);
    struct wall expires = {0};
    assert_true(show_parse_time("2030-01-02T03:04:05Z", &expires));
    struct wall now = {expires.us - 100 * WALL_SECOND};
    json_t *args = pair_begin(file, now, true),
           *want = json_loads("{\"sender\":\"\",\"user\":\"u\",\"envid\":"
                              "\"e\",\"size\":9,\"expires_s\":100,\"was\":"
                              "\"" ID "\",\"hold\":true}",
                              0, NULL);
    assert_true(json_equal(args, want));
    json_decref(args);
    args = pair_begin(file, (struct wall){expires.us + 5}, true); /* over: one attempt */
    assert_int_equal(json_integer_value(json_object_get(args, "expires_s")), 1);
    json_decref(args);
    json_decref(want);
    json_decref(file);
}

/* What export makes, import reads; an export that goes on knows its own files again. */
static void test_made(void **state)
{
    (void)state;
    char problem[PAIR_PROBLEM_SIZE];
    json_t *envelope = json_loads("{\"queue_id\":\"" ID "\",\"sender\":\"s@x\",\"size\":3,"
                                  "\"expires\":\"2030-01-02T03:04:05.000000Z\"}",
                                  0, NULL);
    json_t *rcpts = json_loads("[{\"rcpt\":1,\"recipient\":\"a@b\",\"attempt\":1}]", 0, NULL);
    json_t *made = pair_make(envelope, rcpts);
    char *text = json_dumps(made, 0);
    json_t *file = load(text, strlen(text), problem);
    assert_non_null(file);
    assert_true(json_equal(file, made) && pair_same(file, made));
    json_t *asking = json_deep_copy(made); /* what MAIL and RCPT asked for matters */
    json_object_set_new(asking, "release", json_string("2030-01-02T03:04:05Z"));
    assert_false(pair_same(file, asking));
    json_object_set_new(asking, "tags", json_pack("{s:s}", "a", "b"));
    json_t *args = pair_begin(asking, (struct wall){0}, false);
    assert_string_equal(json_text(args, "release"), "2030-01-02T03:04:05Z");
    assert_string_equal(json_text(json_object_get(args, "tags"), "a"), "b");
    json_decref(args);
    json_object_set_new(json_array_get(json_object_get(made, "recipients"), 0), "notify",
                        json_string("NEVER"));
    assert_false(pair_same(file, made));
    json_object_del(json_array_get(json_object_get(made, "recipients"), 0), "notify");
    json_decref(asking);
    json_object_set_new(json_array_get(json_object_get(made, "recipients"), 0), "attempt",
                        json_integer(2));
    assert_true(pair_same(file, made)); /* attempts do not matter */
    static const char *const keys[] = {"sender", "expires", "queue_id"};
    for (size_t i = 0; i < 3; i++) {
        json_t *other = json_deep_copy(made);
        json_object_set_new(other, keys[i], json_string("else"));
        assert_false(pair_same(file, other));
        json_decref(other);
    }
    json_array_append_new(json_object_get(made, "recipients"),
                          json_pack("{s:s}", "recipient", "c@d"));
    assert_false(pair_same(file, made));
    json_decref(file);
    json_decref(made);
    json_decref(envelope);
    json_decref(rcpts);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_only_files),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_begin),
        cmocka_unit_test(test_made),
    };
    return cmocka_run_group_tests(tests, start, end);
}
