/* What MAIL and RCPT asked for, as JSON. If this breaks, a queue that moves forgets that mail was
 * to wait, to go protected only, or whom to tell of what; or takes what no front door would. */
#include "relay/admin/asked.h"
#include "relay/admin/request.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static json_t *put(const struct asked *a)
{
    json_t *o = json_object();
    asked_put(o, a);
    return o;
}

/* As import.begin takes it. */
static bool parse(json_t *args, struct request *ret, struct problem *ret_problem)
{
    json_object_set_new(args, "sender", json_string(""));
    json_object_set_new(args, "size", json_integer(1));
    json_object_set_new(args, "expires_s", json_integer(1));
    json_t *top = json_pack("{s:i, s:s, s:O}", "id", 1, "verb", "import.begin", "args", args);
    char *line = json_dumps(top, 0);
    bool ok = request_parse(slice_str(line), ret, ret_problem);
    free(line);
    json_decref(top);
    json_decref(args);
    return ok;
}

static void check_round(const struct asked *a)
{
    struct request r;
    struct problem p;
    assert_true(parse(put(a), &r, &p));
    const struct asked *b = &r.import.asked;
    assert_true(a->params.body == b->params.body && a->params.ret == b->params.ret);
    assert_true(a->params.by == b->params.by && a->params.by_trace == b->params.by_trace);
    assert_true(a->params.smtputf8 == b->params.smtputf8);
    assert_true(a->params.requiretls == b->params.requiretls);
    assert_true(a->params.tls_optional == b->params.tls_optional);
    assert_int_equal(a->params.priority, b->params.priority);
    assert_true(a->release.us == b->release.us && a->by_deadline.us == b->by_deadline.us);
    assert_true(slice_eq(buf_slice(&a->tags), buf_slice(&b->tags)));
    assert_true(slice_eq(buf_slice(&a->route), buf_slice(&b->route)));
    assert_null(asked_wrong(b));
    request_done(&r);
}

static struct buf text(const char *s)
{
    struct buf b = BUF_MAX(1000);
    buf_add_str(&b, s);
    return b;
}

static void test_round(void **state)
{
    (void)state;
    struct asked a = {0};
    json_t *nothing = put(&a);
    assert_int_equal(json_object_size(nothing), 0);
    json_decref(nothing);
    check_round(&a);
    a = (struct asked){.params = {MAIL_BODY_BINARYMIME, MAIL_RET_HDRS, MAIL_BY_NOTIFY, true, true,
                                  true, true, MAIL_PRIORITY_MIN},
                       .release = {1800000000123456},
                       .by_deadline = {1800000000000001},
                       .tags = text("campaign=spring=1\nmailing=7\nempty=\n\xc3\xbc=\xe2\x82\xac"),
                       .route = text("smart host")};
    check_round(&a);
    a.params = (struct mail_params){.body = MAIL_BODY_8BITMIME,
                                    .ret = MAIL_RET_FULL,
                                    .by = MAIL_BY_RETURN,
                                    .priority = MAIL_PRIORITY_MAX};
    check_round(&a);
    asked_done(&a);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *args, *says;
    } rows[] = {
        {"{\"body\":\"7BIT\"}", "body takes"},
        {"{\"body\":1}", "body takes"},
        {"{\"ret\":\"\"}", "ret takes"},
        {"{\"by\":\"X\"}", "by takes"},
        {"{\"priority\":10}", "priority takes"},
        {"{\"priority\":-10}", "priority takes"},
        {"{\"priority\":\"1\"}", "priority takes"},
        {"{\"release\":\"soon\"}", "release takes"},
        {"{\"deadline\":17}", "deadline takes"},
        {"{\"tags\":[]}", "tags takes"},
        {"{\"tags\":{\"a\":1}}", "tags takes"},
        {"{\"tags\":{\"\":\"x\"}}", "tags takes"},
        {"{\"tags\":{\"a=b\":\"x\"}}", "tags takes"},
        {"{\"tags\":{\"a\":\"x\\ny=1\"}}", "tags takes"},
        {"{\"tags\":{\"a\\u001b\":\"x\"}}", "tags takes"},
        {"{\"route\":\"\"}", "route takes"},
        {"{\"smtputf8\":1}", "smtputf8 takes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request r;
        struct problem p;
        assert_false(parse(json_loads(rows[i].args, 0, NULL), &r, &p));
        if (!strstr(p.message, rows[i].says))
            fail_msg("%s: %s", rows[i].args, p.message);
        request_done(&r);
    }
    json_t *many = json_object(), *args = json_object();
    for (int i = 0; i <= ASKED_TAGS_MAX; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        json_object_set_new(many, key, json_string("v"));
    }
    json_object_set_new(args, "tags", many);
    struct request r;
    struct problem p;
    assert_false(parse(args, &r, &p));
    request_done(&r);
    char longest[ASKED_TAG_MAX + 1];
    memset(longest, 'v', sizeof longest);
    for (size_t n = ASKED_TAG_MAX - 2; n <= ASKED_TAG_MAX - 1; n++) {
        args = json_pack("{s:{s:s%}}", "tags", "k", longest, n);
        assert_int_equal(parse(args, &r, &p), n == ASKED_TAG_MAX - 2); /* "k=" comes to it */
        request_done(&r);
    }
}

static void test_together(void **state)
{
    (void)state;
    struct asked a = {.params = {.by = MAIL_BY_RETURN}};
    assert_non_null(asked_wrong(&a));
    a = (struct asked){.by_deadline = {1}};
    assert_non_null(asked_wrong(&a));
    a = (struct asked){.params = {.by_trace = true}};
    assert_non_null(asked_wrong(&a));
    a = (struct asked){.route = text("a\x1b[31m")};
    assert_non_null(asked_wrong(&a));
    asked_done(&a);
}

static void test_notify(void **state)
{
    (void)state;
    for (unsigned set = 1; set < 16; set++) {
        struct buf words = BUF_MAX(100);
        unsigned back = 77;
        asked_notify_write(&words, set);
        bool ok = asked_notify_read(buf_slice(&words), &back);
        assert_int_equal(ok, set == MAIL_NOTIFY_NEVER || !(set & MAIL_NOTIFY_NEVER));
        assert_int_equal(back, ok ? set : 77);
        buf_done(&words);
    }
    unsigned n = 77;
    static const char *const bad[] = {"", ",", "SUCCESS DELAY", "ALWAYS", "SUCCESS,,DELAY"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)

        assert_false(asked_notify_read(slice_str(bad[i]), &n));
    assert_true(asked_notify_read(slice_str("success,Delay"), &n));
    assert_int_equal(n, MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_notify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
