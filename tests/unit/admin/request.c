/* Requests of the control protocol. If this breaks, an operator's filter is misread: the wrong
 * messages are removed, or all of them. */
#include "relay/admin/request.h"
#include "relay/base/defer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct request parsed(const char *line)
{
    struct request r;
    struct problem p;
    if (!request_parse(slice_str(line), &r, &p))
        fail_msg("%s: %s", line, p.message);
    return r;
}

static void assert_buf(const struct buf *b, const char *text)
{
    assert_true(slice_eq(buf_slice(b), slice_str(text)));
}

static void test_every_verb(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum verb verb;
    } rows[] = {
        {"{\"id\":1,\"verb\":\"status\",\"args\":{}}", VERB_STATUS},
        {"{\"id\":1,\"verb\":\"status\"}", VERB_STATUS},
        {"{\"id\":1,\"verb\":\"destination.list\"}", VERB_DESTINATION_LIST},
        {"{\"id\":1,\"verb\":\"destination.suspend\",\"args\":{\"destination\":\"d\","
         "\"for_s\":60,\"reason\":\"r\"}}",
         VERB_DESTINATION_SUSPEND},
        {"{\"id\":1,\"verb\":\"destination.resume\",\"args\":{\"destination\":\"d\"}}",
         VERB_DESTINATION_RESUME},
        {"{\"id\":1,\"verb\":\"queue.summary\",\"args\":{}}", VERB_SUMMARY},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{}}", VERB_LIST},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{}}}", VERB_LIST},
        {"{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"0123456789ABC\"}}", VERB_SHOW},
        {"{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"0123456789abc\",\"headers\":true}}",
         VERB_CAT},
        {"{\"id\":1,\"verb\":\"queue.retry\",\"args\":{\"all\":true}}", VERB_RETRY},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"to\":\"*@x\"}}}",
         VERB_REMOVE},
        {"{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true,\"dry_run\":true}}", VERB_HOLD},
        {"{\"id\":\"a\",\"verb\":\"queue.release\",\"args\":{\"all\":true,\"reason\":\"why\"}}",
         VERB_RELEASE},
        {"{\"id\":1,\"verb\":\"queue.bounce\",\"args\":{\"all\":true}}", VERB_BOUNCE},
        {"{\"id\":1,\"verb\":\"queue.expire\",\"args\":{\"all\":true}}", VERB_EXPIRE},
        {"{\"id\":1,\"verb\":\"queue.redirect\",\"args\":{\"all\":true,\"destination\":\"\"}}",
         VERB_REDIRECT},
        {"{\"id\":1,\"verb\":\"queue.priority\",\"args\":{\"all\":true,\"priority\":-9}}",
         VERB_PRIORITY},
        {"{\"id\":1,\"verb\":\"queue.export\",\"args\":{\"filter\":{}}}", VERB_EXPORT},
        {"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"size\":1,\"expires_s\":1}"
         "}",
         VERB_IMPORT_BEGIN},
        {"{\"id\":1,\"verb\":\"import.recipients\",\"args\":{\"recipients\":[]}}",
         VERB_IMPORT_RECIPIENTS},
        {"{\"id\":1,\"verb\":\"import.data\",\"args\":{\"data_base64\":\"\"}}", VERB_IMPORT_DATA},
        {"{\"id\":1,\"verb\":\"import.end\"}", VERB_IMPORT_END},
        {"{\"id\":1,\"verb\":\"spool.check\",\"args\":{\"repair\":true}}", VERB_SPOOL_CHECK},
        {"{\"id\":1,\"verb\":\"explain\",\"args\":{\"id\":\"0123456789ABC\"}}", VERB_EXPLAIN},
        {"{\"id\":1,\"verb\":\"explain\",\"args\":{\"address\":\"a@b\",\"user\":\"u\"}}",
         VERB_EXPLAIN},
        {"{\"id\":1,\"verb\":\"explain.probe\",\"args\":{\"address\":\"a@b\",\"sender\":\"\","
         "\"no_rcpt\":true}}",
         VERB_PROBE},
        {"{\"id\":1,\"verb\":\"trace\"}", VERB_TRACE},
        {"{\"id\":1,\"verb\":\"trace\",\"args\":{\"to\":\"*@b\",\"from\":\"a*\",\"site\":\"s\","
         "\"client\":\"192.0.2.0/24\",\"id\":\"0123456789ABC\",\"for_s\":5,\"limit\":9}}",
         VERB_TRACE},
        {"{\"id\":1,\"verb\":\"reload\",\"args\":{}}", VERB_RELOAD},
        {"{\"id\":1,\"verb\":\"drain\"}", VERB_DRAIN},
        {"{\"id\":1,\"verb\":\"stop\"}", VERB_STOP},
        {"{\"id\":1,\"verb\":\"log.reopen\"}", VERB_LOG_REOPEN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request r = parsed(rows[i].line);
        assert_int_equal(r.verb, rows[i].verb);
        assert_non_null(r.id);
        request_done(&r);
    }
}

static void test_whole_filter(void **state)
{
    (void)state;
    struct request r = parsed("{\"id\":7,\"verb\":\"queue.list\",\"args\":{\"limit\":20,\"after\":"
                              "\"0123456789ABC.3\",\"count\":true,\"filter\":{"
                              "\"id\":[\"0123456789ABD\",\"0123456789ABC\"],\"from\":\"a*\",\"to\":"
                              "\"*@b\",\"user\":\"u\",\"destination\":\"d\","
                              "\"site\":\"s\",\"state\":\"ready|held\",\"older_than_s\":7200,"
                              "\"newer_than_s\":0,\"attempts_ge\":3,"
                              "\"code\":\"4xx\",\"reply\":\"full\",\"size_ge\":10485760}}}");
    const struct queue_filter *f = &r.filter;
    assert_int_equal(f->n_ids, 2);
    assert_true(f->ids[0] < f->ids[1]); /* sorted: the spooler looks them up from a cursor */
    assert_buf(&f->from, "a*");
    assert_buf(&f->to, "*@b");
    assert_buf(&f->user, "u");
    assert_buf(&f->destination, "d");
    assert_buf(&f->site, "s");
    assert_buf(&f->reply, "full");
    assert_int_equal(f->states, 1 | 4);
    assert_int_equal(f->older_than_s, 7200);
    assert_int_equal(f->newer_than_s, 1); /* given, so never "no condition" */
    assert_int_equal(f->attempts_ge, 3);
    assert_int_equal(f->code, 4);
    assert_int_equal(f->size_ge, 10485760);
    assert_int_equal(r.limit, 20);
    assert_true(r.after.id == f->ids[0] && r.after.rcpt == 3);
    assert_true(r.count);
    request_done(&r);
    r = parsed("{\"id\":7,\"verb\":\"queue.list\",\"args\":{\"limit\":10000,\"sort\":\"size\"}}");
    assert_int_equal(r.sort, SORT_SIZE);
    request_done(&r);
}

/* Each is refused with a word of what is wrong. hopeless: the peer does not speak the protocol and
 * is closed. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *says;
        bool hopeless;
    } rows[] = {
        {"", "not a request", true},
        {"GET / HTTP/1.1", "not a request", true},
        {"{\"id\":1,\"verb\":\"queue.list\",\"arguments\":{\"limit\":1}}", "no arguments", false},
        {"{\"id\":1e400,\"verb\":\"status\"}", "not a request", true},
        {"{\"id\":99999999999999999999,\"verb\":\"status\"}", "not a request", true},
        {"[]", "an object", true},
        {"7", "not a request", true},
        {"{}", "id must be", true},
        {"{\"id\":null,\"verb\":\"status\"}", "id must be", true},
        {"{\"id\":1.5,\"verb\":\"status\"}", "id must be", true},
        {"{\"id\":{},\"verb\":\"status\"}", "id must be", true},
        {"{\"id\":1}", "verb is missing", true},
        {"{\"id\":1,\"verb\":7}", "verb is missing", true},
        {"{\"id\":1,\"id\":2,\"verb\":\"status\"}", "duplicate", true},
        {"{\"id\":1,\"verb\":\"status\"} x", "not a request", true},
        {"{\"id\":1,\"verb\":\"sta\\u0000tus\"}", "not a request", true},
        {"{\"id\":1,\"verb\":\"queue\"}", "no verb is called queue", false},
        {"{\"id\":1,\"verb\":\"\"}", "no verb", false},
        {"{\"id\":1,\"verb\":\"explain\",\"args\":{\"address\":\"a@b\",\"no_rcpt\":true}}",
         "explain has no no_rcpt", false},
        {"{\"id\":1,\"verb\":\"explain\"}", "explain needs an id or an address", false},
        {"{\"id\":1,\"verb\":\"explain\",\"args\":{\"id\":\"0123456789ABC\",\"address\":"
         "\"a@b\"}}",
         "explain needs an id or an address", false},
        {"{\"id\":1,\"verb\":\"status\",\"args\":[]}", "args must be an object", false},
        {"{\"id\":1,\"verb\":\"status\",\"args\":{\"id\":\"0123456789ABC\"}}", "status has no id",
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"all\":true}}", "queue.list has no all",
         false},
        {"{\"id\":1,\"verb\":\"queue.show\",\"args\":{}}", "needs an id", false},
        {"{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"0000000000000\"}}", "needs an id",
         false},
        {"{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"xyz\"}}", "id takes a queue id",
         false},
        {"{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":7}}", "id takes a queue id", false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{}}", "without a filter", false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{}}}", "without a filter",
         false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"all\":false,\"filter\":{}}}",
         "without a filter", false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"all\":\"yes\"}}",
         "all takes true or false", false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":[]}}", "filter takes an object",
         false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"too\":\"x\"}}}",
         "filter has no too", false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"to\":\"\"}}}", "to takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"to\":null}}}", "to takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"id\":\"0123456789ABC\"}}}",
         "id takes a list", false},
        {"{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"id\":[\"0123456789ABC\",1]}}"
         "}",
         "id takes a list", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"state\":\"\"}}}", "state takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"state\":\"ready|\"}}}", NULL,
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"state\":\"done\"}}}",
         "state takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"code\":450}}}", "code takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"code\":\"1xx\"}}}",
         "code takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"code\":\"45\"}}}", "code takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"code\":\"4x0\"}}}",
         "code takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"size_ge\":-1}}}",
         "size_ge takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"older_than_s\":\"2h\"}}}",
         "older_than_s takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"attempts_ge\":4294967296}}}",
         "attempts_ge takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":-5}}", "limit takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"sort\":\"name\"}}", "sort takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"sort\":1}}", "sort takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"tag\":\"=x\"}}}", "tag takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"filter\":{\"tag\":\"x\"}}}", "tag takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.retry\",\"args\":{\"filter\":{\"tag\":\"a=b\"}}}", NULL,
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"sort\":\"due\",\"limit\":10001}}",
         "at most 10000", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"sort\":\"age\",\"after\":\"0123456789ABC."
         "0\"}}",
         "no cursor", false},
        {"{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true,\"priority\":1}}",
         "queue.hold has no priority", false},
        {"{\"id\":1,\"verb\":\"queue.redirect\",\"args\":{\"all\":true}}", "needs a destination",
         false},
        {"{\"id\":1,\"verb\":\"queue.priority\",\"args\":{\"all\":true}}", "needs a priority",
         false},
        {"{\"id\":1,\"verb\":\"queue.priority\",\"args\":{\"all\":true,\"priority\":10}}",
         "from -9 to 9", false},
        {"{\"id\":1,\"verb\":\"queue.bounce\",\"args\":{}}", "needs \"all\"", false},
        {"{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true,\"sort\":\"due\"}}",
         "queue.hold has no sort", false},
        {"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"size\":1,\"expires_s\":1}}",
         "needs sender, size and (without submit) expires_s", false},
        {"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"expires_s\":1}}",
         "needs sender, size and (without submit) expires_s", false},
        {"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"size\":1}}",
         "needs sender, size and (without submit) expires_s", false},
        {"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":null,\"size\":1,\"expires_s\":1}"
         "}",
         "sender takes", false},
        {"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"size\":-1,\"expires_s\":"
         "1}}",
         "size takes", false},
        {"{\"id\":1,\"verb\":\"import.begin\",\"args\":{\"sender\":\"\",\"dsn_for\":\"x\"}}",
         "has no dsn_for", false},
        {"{\"id\":1,\"verb\":\"import.recipients\",\"args\":{}}", "without recipients", false},
        {"{\"id\":1,\"verb\":\"import.recipients\",\"args\":{\"recipients\":\"a@b\"}}",
         "recipients takes a list", false},
        {"{\"id\":1,\"verb\":\"import.data\"}", "without data_base64", false},
        {"{\"id\":1,\"verb\":\"import.data\",\"args\":{\"data_base64\":7}}", "takes base 64",
         false},
        {"{\"id\":1,\"verb\":\"import.end\",\"args\":{\"all\":true}}", "has no all", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"after\":\"0123456789ABC\"}}", "after takes",
         false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"after\":\"0123456789ABC.-1\"}}",
         "after takes", false},
        {"{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"after\":\"0123456789ABC.4294967296\"}}",
         "after takes", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct request r;
        struct problem p;
        bool ok = request_parse(slice_str(rows[i].line), &r, &p);
        assert_int_equal(ok, rows[i].says == NULL);
        if (rows[i].says) {
            if (!strstr(p.message, rows[i].says))
                fail_msg("%s: %s", rows[i].line, p.message);
            assert_string_equal(p.code, "usage");
            assert_int_equal(p.hopeless, rows[i].hopeless);
            assert_true(rows[i].hopeless || r.id); /* the answer names the request */
        }
        request_done(&r);
    }
}

/* An empty list of ids (an empty file given to --ids-from) is a filter that nothing matches, not no
 * filter. */
static void test_no_ids_match_nothing(void **state)
{
    (void)state;
    struct request r =
        parsed("{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"id\":[]}}}");
    assert_int_equal(r.filter.n_ids, 1);
    assert_int_equal(r.filter.ids[0], 0);
    request_done(&r);
}

/* Any prefix and any changed byte of a request is either one or not; nothing else happens. */
static void test_damaged(void **state)
{
    (void)state;
    static const char line[] =
        "{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"id\":[\"0123456789ABC\"],"
        "\"state\":\"held\",\"code\":\"450\",\"older_than_s\":7},\"reason\":\"x\"}}";
    char copy[sizeof line];
    for (size_t n = 0; n < sizeof line - 1; n++) {
        struct request r;
        struct problem p;
        assert_false(request_parse(slice_of(line, n), &r, &p));
        assert_true(p.hopeless);
        request_done(&r);
    }
    for (size_t i = 0; i < (sizeof line - 1) * 256; i++) {
        struct request r;
        struct problem p;
        memcpy(copy, line, sizeof line);
        copy[i / 256] = (char)(i % 256);
        if (request_parse(slice_of(copy, sizeof line - 1), &r, &p))
            assert_true(r.filter.n_ids > 0 || r.filter.states || r.filter.code ||
                        r.filter.older_than_s);
        else
            assert_true(p.message[0] && p.code);
        request_done(&r);
    }
}

static void test_places(void **state)
{
    (void)state;
    static const struct place rows[] = {
        {1, 0}, {UINT64_C(0x0123456789abcdef), 65534}, {UINT64_C(1) << 62, UINT32_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[PLACE_SIZE];
        struct place p = {0};
        place_write(rows[i], text);
        assert_true(place_parse(slice_str(text), &p));
        assert_true(p.id == rows[i].id && p.rcpt == rows[i].rcpt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_verb), cmocka_unit_test(test_whole_filter),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_no_ids_match_nothing),
        cmocka_unit_test(test_damaged),    cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
