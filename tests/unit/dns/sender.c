/* What receivers find when they look up who calls (checklist 76). If this breaks, an administrator
 * is told that all is well while his mail is refused, or is sent after what is right. */
#include "dns/sender.h"
#include "dns/name.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A zone, and what is told of 192.0.2.10 that says out.test: "w", "u" or "n" before each sentence,
 * of which the words are looked for. */
struct row {
    const char *about, *records, *told[3];
};

static const struct row rows[] = {
    {"all is well", "10.2.0.192.in-addr.arpa PTR out.test, out.test A 192.0.2.10", {NULL}},
    {"several of each, one of them right",
     "10.2.0.192.in-addr.arpa PTR a.test out.test, out.test A 192.0.2.9 192.0.2.10",
     {NULL}},
    {"no PTR",
     "out.test A 192.0.2.10",
     {"w192.0.2.10 has no name (PTR): many receivers refuse mail from such an address. Have "
      "whoever "
      "provides the address name it out.test"}},
    {"another name, which leads back",
     "10.2.0.192.in-addr.arpa PTR a.test, a.test A 192.0.2.10, out.test A 192.0.2.10",
     {"n192.0.2.10 is named a.test (PTR), and says out.test in EHLO: some receivers want them "
      "alike. Set helo = \"a.test\", or have the address named out.test"}},
    {"another name, which leads elsewhere",
     "10.2.0.192.in-addr.arpa PTR a.test, a.test A 192.0.2.11, out.test A 192.0.2.10",
     {"w192.0.2.10 is named a.test (PTR), which does not lead back to it"}},
    {"another name, which is not there",
     "10.2.0.192.in-addr.arpa PTR a.test, out.test A 192.0.2.10",
     {"w192.0.2.10 is named a.test (PTR), which does not lead back to it"}},
    {"of two names the second leads back",
     "10.2.0.192.in-addr.arpa PTR a.test b.test, b.test A 192.0.2.10, out.test A 192.0.2.10",
     {"n192.0.2.10 is named b.test (PTR)"}},
    {"what is no name",
     "10.2.0.192.in-addr.arpa PTR 192.0.2.10, out.test A 192.0.2.10",
     {"w192.0.2.10 is named what is no host name (PTR)"}},
    {"the name of EHLO is not there",
     "10.2.0.192.in-addr.arpa PTR a.test, a.test A 192.0.2.10",
     {"wout.test, the name said in EHLO from 192.0.2.10, has no A record", "n192.0.2.10 is named"}},
    {"the name of EHLO leads elsewhere, and is that of the address: told once",
     "10.2.0.192.in-addr.arpa PTR out.test, out.test A 192.0.2.11",
     {"wout.test, the name said in EHLO from 192.0.2.10, leads to 192.0.2.11"}},
    {"nothing is known of it",
     "",
     {"wout.test, the name said in EHLO from 192.0.2.10, has no A record", "w192.0.2.10 has no"}},
    /* trouble is never taken for a no */
    {"the PTR cannot be looked up",
     "10.2.0.192.in-addr.arpa ?, out.test A 192.0.2.10",
     {"uthe name of 192.0.2.10 (PTR) cannot be looked up now (servfail)"}},
    {"the name of EHLO cannot be",
     "10.2.0.192.in-addr.arpa PTR out.test, out.test ?",
     {"uout.test, the name said in EHLO, cannot be looked up now (servfail)"}},
    {"the address's name cannot be",
     "10.2.0.192.in-addr.arpa PTR a.test, a.test ?, out.test A 192.0.2.10",
     {"uwhether a.test, the name of 192.0.2.10, leads back to it cannot be looked up now"}},
    {"one cannot be, the other is right",
     "10.2.0.192.in-addr.arpa PTR a.test out.test, a.test ?, out.test A 192.0.2.10",
     {NULL}},
};

static struct dns_answer *answer_of(const char *records, const struct plan_question *q)
{
    struct dns_answer *a = dns_answer_new(DNS_NXDOMAIN, q->type, 60);
    for (struct slice rest = slice_str(records); rest.n;) {
        struct slice line = slice_trim(slice_cut(&rest, ',')), name = slice_cut(&line, ' ');
        struct slice type = slice_cut(&line, ' ');
        if (!slice_eq(name, slice_str(q->name)))
            continue;
        a->status = slice_eq(type, SLICE_LIT("?")) ? DNS_SERVFAIL : DNS_OK;
        while (line.n && a->status == DNS_OK) {
            char text[DNS_NAME_SIZE] = "";
            struct dns_ip ip;
            struct slice word = slice_cut(&line, ' ');
            memcpy(text, word.p, word.n);
            if (q->type == DNS_PTR) {
                dns_answer_add_mx(a, 0, text);
            } else {
                assert_true(dns_ip_parse(word, &ip));
                dns_answer_add_ip(a, ip.family, ip.bytes);
            }
        }
    }
    return a;
}

struct told {
    char text[4][1300];
    size_t n;
};

static void on_told(void *ctx, enum sender_weight w, const char *text)
{
    struct told *t = ctx;
    assert_true(t->n < 4);
    snprintf(t->text[t->n++], sizeof t->text[0], "%c%s",
             w == SENDER_WRONG     ? 'w'
             : w == SENDER_UNKNOWN ? 'u'
                                   : 'n',
             text);
}

/* Answers come in the order of the questions, or the other way round. */
static void find(const char *records, bool backwards, struct told *t)
{
    struct dns_ip ip;
    assert_true(dns_ip_parse(SLICE_LIT("192.0.2.10"), &ip));
    struct sender *s = sender_new(&ip, SLICE_LIT("Out.test"));
    struct plan_question open[16];
    size_t n = 0, asked = 0;
    while (!sender_is_done(s)) {
        while (sender_next(s, &open[n])) {
            n++;
            assert_true(++asked <= 10);
        }
        assert_true(n > 0);
        struct plan_question q = open[backwards ? n - 1 : 0];
        if (!backwards)
            memmove(open, open + 1, (n - 1) * sizeof *open);
        n--;
        struct dns_answer *a = answer_of(records, &q);
        sender_answer(s, &q, a);
        sender_answer(s, &q, a); /* twice changes nothing */
        dns_answer_unref(a);
    }
    sender_tell(s, on_told, t);
    sender_free(s);
}

static void sentences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (unsigned backwards = 0; backwards < 2; backwards++) {
            struct told t = {.n = 0};
            size_t n = 0;
            find(rows[i].records, backwards, &t);
            for (; n < 3 && rows[i].told[n]; n++)
                if (n >= t.n || strncmp(t.text[n], rows[i].told[n], strlen(rows[i].told[n])) != 0)
                    fail_msg("%s: \"%s\" instead of \"%s\"", rows[i].about,
                             n < t.n ? t.text[n] : "", rows[i].told[n]);
            if (t.n != n)
                fail_msg("%s: \"%s\", too", rows[i].about, t.text[n]);
        }
    }
}

/* A zone with more names than anybody looks at. */
static void many_names(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf records = BUF_MAX(8192);
    struct told t = {.n = 0};
    buf_add_str(&records, "out.test A 192.0.2.10, 10.2.0.192.in-addr.arpa PTR");
    for (unsigned i = 0; i < 60; i++)
        buf_addf(&records, " n%02u.test", i);
    find(buf_str(&records), false, &t);
    assert_int_equal(t.n, 1);
    assert_non_null(strstr(t.text[0], "w192.0.2.10 is named n00.test (PTR), which does not lead"));
}

static void reverse_names(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"192.0.2.10", "10.2.0.192.in-addr.arpa"},
        {"::ffff:192.0.2.10", "10.2.0.192.in-addr.arpa"},
        {"2001:db8::567:89ab",
         "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char name[DNS_NAME_SIZE], parsed[DNS_NAME_SIZE];
        struct dns_ip ip;
        assert_true(dns_ip_parse(slice_str(pairs[i][0]), &ip));
        dns_ip_reverse(&ip, name);
        assert_string_equal(name, pairs[i][1]);
        assert_true(dns_name_parse(slice_str(name), parsed)); /* it can be asked for */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences),
        cmocka_unit_test(many_names),
        cmocka_unit_test(reverse_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
