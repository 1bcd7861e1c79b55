/* The users file: who gets in, who does not, and that an edit changes one line and nothing else. */
#include "relay/conf/users.h"
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "/tmp/postwain-unit-users"
#define PATH FOLDER "/users"

static struct buf told = {.max = 65536};

static void say(void *ctx, const char *line)
{
    (void)ctx;
    buf_addf(&told, "%s\n", line);
}

static void write_file(const char *text)
{
    FILE *f = fopen(PATH, "w");
    MUST(f);
    fputs(text, f);
    fclose(f);
}

static void expect_file(const char *text)
{
    char now[4096];
    FILE *f = fopen(PATH, "r");
    MUST(f);
    size_t n = fread(now, 1, sizeof now - 1, f);
    fclose(f);
    now[n] = 0;
    assert_string_equal(now, text);
}

static struct users *load(const char *text)
{
    buf_reset(&told);
    write_file(text);
    return users_load(PATH, say, NULL);
}

#define SHA512                                                                                     \
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/"                                          \
    "O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1" /* "Hello world!" */
#define MD5 "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"       /* "password" */

#define DIGEST "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"
#define SCRAM                                                                                      \
    "scram=SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"                                           \
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define KEY ":key:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static void test_load(void **state)
{
    (void)state;
    struct users *us = load("# people\n\n  app:" SHA512 "\n"
                            "bob@example.com:" MD5 ":from=*@example.com,from=bob@*,rate=100/h\r\n"
                            "gone:!" MD5 ":\n");
    assert_string_equal(buf_str(&told), "");
    assert_non_null(us);
    assert_int_equal(us->n, 3);
    const struct user *app = users_find(us, SLICE_LIT("app"));
    const struct user *bob = users_find(us, SLICE_LIT("bob@example.com"));
    assert_int_equal(app->n_from, 0);
    assert_string_equal(app->rate, "");
    assert_string_equal(bob->rate, "100/h");
    assert_int_equal(bob->line, 4);
    assert_null(users_find(us, SLICE_LIT("App")));
    assert_null(users_find(us, SLICE_LIT("")));
    assert_true(user_may_send_as(app, SLICE_LIT("any@where")));
    assert_true(user_may_send_as(app, SLICE_LIT("")));
    assert_true(user_may_send_as(bob, SLICE_LIT("X@EXAMPLE.com")));
    assert_true(user_may_send_as(bob, SLICE_LIT("bob@other")));
    assert_false(user_may_send_as(bob, SLICE_LIT("eve@other")));
    assert_false(user_may_send_as(bob, SLICE_LIT("")));
    users_unref(us);
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"a b:" MD5, ":1: \"a b\" is not a user name"},
        {"\n:" MD5, ":2: \"\" is not a user name"},
        {"bob", ":1: user bob: the password is not a hash"},
        {"bob:secret", "is not a hash"},
        {"bob:$9$unknown$abcdefghijklmnop", "is not a hash"},
        {"bob:" MD5 "\nbob:" MD5, ":2: user bob stands here twice, first in line 1"},
        {"bob:" MD5 ":from", "from= needs"},
        {"bob:" MD5 ":from=", "from= needs"},
        {"bob:" MD5 ":rate=5", "rate= needs"},
        {"bob:" MD5 ":rate=0/s", "rate= needs"},
        {"bob:" MD5 ":rate=1/s,rate=2/s", "rate= stands twice"},
        {"bob:" MD5 ":rate=1/w", "rate= needs"},
        {"bob:" MD5 ":rate=1/5ms", "rate= needs"},
        {"bob:" MD5 ":rate=1/2d", "rate= needs"},
        {"bob:" MD5 ":rate=1/0s", "rate= needs"},
        {"bob:" MD5 ":burst=5", ":1: user bob: burst= needs a rate= beside it"},
        {"bob:" MD5 ":rate=1/s,burst=0", "burst= needs"},
        {"bob:" MD5 ":max-size=10", "max-size= needs"},
        {"bob:" MD5 ":max-size=1M,max-size=2M", "max-size= stands twice"},
        {"bob:" MD5 ":max-recipients=0", "max-recipients= needs"},
        {"bob:" MD5 ":max-recipients=65536", "max-recipients= needs"},
        {"bob:" MD5 ":tag=key", "tag= needs"},
        {"bob:" MD5 ":tag==value", "tag= needs"},
        {"bob:" MD5 ":tag=a b=value", "tag= needs"},
        {"bob:" MD5 ":priority=urgent", "priority= needs one of high, normal, low"},
        {"bob:" MD5 ":priority=", "priority= needs"},
        {"bob:" MD5 ":destination=", "destination= needs"},
        {"bob:" MD5 ":disabled=yes", "disabled needs no value"},
        {"bob:" MD5 ":disabled,disabled", "stands twice"},
        {"bob:" MD5 ":certificate=0011", "certificate= needs"},
        {"bob:" MD5 ":certificate=" DIGEST "00", "certificate= needs"},
        {"bob:" MD5 ":certificate=g" DIGEST, "certificate= needs"},
        {"a:" MD5 ":certificate=" DIGEST "\nbob:" MD5 ":certificate=" DIGEST,
         ":2: user bob: certificate= is the one of a in line 1"},
        {"bob:" MD5 ":scram=x", "scram= needs"},
        {"bob:" MD5 ":form=x", "unknown option \"form\""},
        {":key:AAAA", ":1: :key: needs 32 octets"},
        {KEY "\n" KEY, ":2: :key: needs 32 octets in base64, once"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(load(bad[i].text));
        if (!strstr(buf_str(&told), bad[i].words))
            fail_msg("no \"%s\" in %s", bad[i].words, buf_str(&told));
    }
    unlink(PATH);
    buf_reset(&told);
    assert_null(users_load(PATH, say, NULL));
    assert_non_null(strstr(buf_str(&told), "No such file"));
}

static void test_options(void **state)
{
    (void)state;
    static const uint8_t digest[USER_CERTIFICATE_SIZE] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    struct users *us = load("a:" MD5 ":rate=50/10m, burst=200 ,max-size=25M,max-recipients=40,"
                            "tag=team=shop,tag=env=a=b,priority=low,destination=bulk,disabled\n"
                            "b:*:rate=7/h,priority=high,certificate=" DIGEST "\n"
                            "c:" MD5 ":priority=normal,"
                            "certificate=01:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:"
                            "13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\n"
                            "d:" MD5 "\n");
    assert_string_equal(buf_str(&told), "");
    const struct user *a = users_find(us, SLICE_LIT("a")), *b = users_find(us, SLICE_LIT("b"));
    const struct user *c = users_find(us, SLICE_LIT("c")), *d = users_find(us, SLICE_LIT("d"));
    assert_int_equal(a->limit.recipients, 50);
    assert_int_equal(a->limit.period_ms, 600000);
    assert_int_equal(a->limit.burst, 200);
    assert_string_equal(a->rate, "50/10m");
    assert_int_equal(a->max_size, 25 << 20);
    assert_int_equal(a->max_recipients, 40);
    assert_string_equal(a->tags, "team=shop\nenv=a=b");
    assert_int_equal(a->n_tags, 2);
    assert_int_equal(a->priority, USER_PRIORITY_LOW);
    assert_string_equal(a->destination, "bulk");
    assert_true(a->disabled);
    assert_false(user_has_password(a));
    assert_int_equal(b->limit.burst, 7); /* as much as in a period, when it is not said */
    assert_int_equal(b->limit.period_ms, 3600000);
    assert_int_equal(b->priority, USER_PRIORITY_HIGH);
    assert_false(user_has_password(b));
    assert_ptr_equal(users_find_certificate(us, digest), b);
    assert_int_equal(c->certificates[0], 1);
    assert_ptr_equal(users_find_certificate(us, c->certificates), c);
    assert_true(user_has_password(d));
    assert_int_equal(d->limit.recipients, 0);
    assert_string_equal(d->tags, "");
    assert_string_equal(d->destination, "");
    assert_int_equal(d->priority, USER_PRIORITY_ANY);
    users_unref(us);
}

/* A login is one look into a table, however long the file is. */
static void test_many(void **state)
{
    (void)state;
    FILE *f = fopen(PATH, "w");
    MUST(f);
    for (unsigned i = 0; i < 100000; i++)
        fprintf(f, "user-%u@example.com:%s:%s,from=*@d%u.example.com,rate=10/s\n", i, SHA512, SCRAM,
                i);
    fclose(f);
    struct users *us = users_load(PATH, say, NULL);
    assert_non_null(us);
    assert_int_equal(us->n, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        char name[40];
        snprintf(name, sizeof name, "user-%u@example.com", i);
        assert_ptr_equal(users_find(us, slice_str(name)), us->list[i]);
    }
    assert_null(users_find(us, SLICE_LIT("user-100000@example.com")));
    users_unref(us);
}

static struct user_secrets secrets_of(const char *hash)
{
    struct user_secrets s = {0};
    snprintf(s.hash, sizeof s.hash, "%s", hash);
    return s;
}

static void test_verify(void **state)
{
    (void)state;
    struct user_secrets s;
    struct err e = {0};
    assert_int_equal(users_hash(SLICE_LIT("pa:ss w\xc3\xb6rd"), &s, &e), 0);
    assert_memory_equal(s.hash, "$y$", 3);
    const struct user mine = {.name = "u", .hash = s.hash}, md5 = {.name = "u", .hash = MD5};
    const struct user locked = {.name = "u", .hash = "!" MD5};
    const struct user disabled = {.name = "u", .hash = MD5, .disabled = true};
    assert_true(users_verify(&mine, SLICE_LIT("pa:ss w\xc3\xb6rd")));
    assert_false(users_verify(&mine, SLICE_LIT("pa:ss w\xc3\xb6r")));
    assert_false(users_verify(&mine, SLICE_LIT("pa:ss w\xc3\xb6rd\0x")));
    assert_false(users_verify(&mine, SLICE_LIT("")));
    assert_false(users_verify(&mine, SLICE_NONE));
    assert_true(users_verify(&md5, SLICE_LIT("password")));
    assert_false(users_verify(&locked, SLICE_LIT("password")));
    assert_false(users_verify(&disabled, SLICE_LIT("password")));
    assert_false(users_verify(NULL, SLICE_LIT("password")));
    assert_false(users_verify(NULL, SLICE_LIT("x")));
    static uint8_t large[5000];
    memset(large, 'a', sizeof large);
    assert_false(users_verify(&mine, slice_of(large, sizeof large)));
    assert_true(users_hash(slice_of(large, sizeof large), &s, &e) < 0);
    assert_true(users_hash(SLICE_LIT(""), &s, &e) < 0);
    assert_true(users_hash(SLICE_LIT("a\nb"), &s, &e) < 0);
}

/* The vector of RFC 7677 section 3, with its salt and number of iterations. */
static void test_scram_vector(void **state)
{
    (void)state;
    static const char line[] =
        "user:*:scram=SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    char longer[400];
    struct user u = {0};
    struct arena a;
    arena_init(&a, 65536);
    assert_true(user_options_take(&u, slice_str(strstr(line, "scram=")), &a, say, NULL));
    assert_string_equal(u.scram.iterations, "4096");
    assert_string_equal(u.scram.salt, "W22ZaJ0SNY7soEsUEjb6gQ==");
    assert_string_equal(u.scram.stored_key, "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
    assert_string_equal(u.scram.server_key, "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    for (size_t n = strlen(line) - strlen(strstr(line, "SCRAM-")); n < strlen(line); n++) {
        snprintf(longer, sizeof longer, "%.*s", (int)n, line);
        struct user v = {0};
        assert_false(user_options_take(&v, slice_str(strstr(longer, "scram=")), &a, say, NULL));
    }
    arena_done(&a);
}

/* Both secrets are of the same password; the second counts only beside the hash it was made with.
 */
static void test_scram_of_a_password(void **state)
{
    (void)state;
    struct user_secrets s, other;
    struct user_scram_text t, again;
    struct err e = {0};
    char text[2000];
    assert_int_equal(users_hash(SLICE_LIT("secret"), &s, &e), 0);
    assert_int_equal(users_hash(SLICE_LIT("secret"), &other, &e), 0);
    assert_string_not_equal(s.scram, other.scram); /* a salt of its own each time */
    snprintf(text, sizeof text, KEY "\nu:%s:scram=%s\nlocked:!%s:scram=%s\nold:%s:scram=%s\n",
             s.hash, s.scram, s.hash, s.scram, other.hash, s.scram);
    struct users *us = load(text);
    assert_non_null(us);
    const struct user *u = users_find(us, SLICE_LIT("u"));
    assert_string_equal(u->scram.iterations, "15000");
    users_scram(us, u, SLICE_LIT("u"), &t);
    assert_string_equal(t.salt, u->scram.salt);
    assert_string_equal(t.stored_key, u->scram.stored_key);
    assert_string_equal(t.server_key, u->scram.server_key);
    /* The lock of shadow(5) locks this way in, too, and the secret is still there for later. */
    const struct user *locked = users_find(us, SLICE_LIT("locked"));
    assert_non_null(locked->scram.iterations);
    users_scram(us, locked, SLICE_LIT("locked"), &t);
    assert_string_not_equal(t.stored_key, u->scram.stored_key);
    assert_null(users_find(us, SLICE_LIT("old"))->scram.iterations);
    /* Who has none, and who is not there, look alike, and the same tomorrow. */
    users_scram(us, NULL, SLICE_LIT("nobody"), &t);
    users_unref(us);
    us = load(KEY "\na:" MD5 "\n");
    users_scram(us, NULL, SLICE_LIT("nobody"), &again);
    assert_memory_equal(&t.salt, &again.salt, strlen(t.salt) + 1);
    assert_string_equal(t.stored_key, again.stored_key);
    assert_string_equal(t.iterations, "15000");
    assert_int_equal(strlen(t.salt), 24);
    users_scram(us, users_find(us, SLICE_LIT("a")), SLICE_LIT("a"), &again);
    assert_string_not_equal(t.salt, again.salt);
    users_unref(us);
    us = load("a:" MD5 "\n"); /* without the line the file itself is the key */
    users_scram(us, NULL, SLICE_LIT("nobody"), &again);
    assert_string_not_equal(t.salt, again.salt);
    users_unref(us);
    /* SASLprep (RFC 4013) prohibits it: no secret, and no failure. */
    assert_int_equal(users_hash(SLICE_LIT("a\xe2\x80\x8f"
                                          "b"),
                                &s, &e),
                     0);
    assert_string_equal(s.scram, "");
    assert_memory_equal(s.hash, "$y$", 3);
}

static int edit(enum users_edit what, const char *name, const char *hash, const char *opts)
{
    struct err e = {0};
    struct user_secrets s = secrets_of(hash ? hash : "");
    struct users_change c = {what, name, hash ? &s : NULL, opts, NULL};
    return users_edit(PATH, &c, &e);
}

#define NEW "$1$newnewne$G//4keteveJp0qb8z2DxG/"
#define OTHER "$1$otheroth$G//4keteveJp0qb8z2DxG/"

static void test_edit(void **state)
{
    (void)state;
    write_file("# head\na:" MD5 "\n\nbob:" MD5 ":rate=1/s\n# tail");
    struct users *before = users_load(PATH, say, NULL);
    assert_false(users_changed(before, PATH));
    assert_int_equal(edit(USERS_PASSWORD, "bob", NEW, NULL), 0);
    assert_true(users_changed(before, PATH));
    users_unref(before);
    expect_file("# head\na:" MD5 "\n\nbob:" NEW ":rate=1/s\n# tail\n");
    assert_int_equal(edit(USERS_ADD, "c", OTHER, "from=*@x"), 0);
    assert_int_equal(edit(USERS_REMOVE, "a", NULL, NULL), 0);
    expect_file("# head\n\nbob:" NEW ":rate=1/s\n# tail\nc:" OTHER ":from=*@x\n");
    assert_int_equal(edit(USERS_ADD, "bob", OTHER, ""), -EEXIST);
    assert_int_equal(edit(USERS_REMOVE, "a", NULL, NULL), -ENOENT);
    assert_int_equal(edit(USERS_PASSWORD, "bo", OTHER, NULL), -ENOENT);
    assert_int_equal(edit(USERS_SET, "bo", NULL, "rate=1/s"), -ENOENT);
    assert_int_equal(edit(USERS_ADD, "x y", OTHER, ""), -EINVAL);
    assert_int_equal(edit(USERS_ADD, "x", OTHER "\nroot:", ""), -EINVAL);
    assert_int_equal(edit(USERS_ADD, "x", OTHER, "a\nb"), -EINVAL);
    struct users_change none = {USERS_REMOVE, "x", NULL, NULL, NULL};
    assert_int_equal(users_edit(FOLDER "/none", &none, NULL), -ENOENT);
    expect_file("# head\n\nbob:" NEW ":rate=1/s\n# tail\nc:" OTHER ":from=*@x\n");
}

static void touch_in_place(void)
{
    FILE *f = fopen(PATH, "r+");
    MUST(f && fputs("b", f) >= 0 && fclose(f) == 0);
}

static void replace(void)
{
    FILE *f = fopen(FOLDER "/new", "w");
    MUST(f && fputs("a:" MD5 "\n", f) >= 0 && fclose(f) == 0);
    MUST(rename(FOLDER "/new", PATH) == 0);
}

static void remove_it(void)
{
    MUST(unlink(PATH) == 0);
}

static void link_it_elsewhere(void)
{
    MUST(link(PATH, FOLDER "/other") == 0 && unlink(FOLDER "/other") == 0);
}

/* However a file changes hands, whoever was in it yesterday is not let in by it. */
static void test_touched(void **state)
{
    static void (*const ways[])(void) = {touch_in_place, replace, remove_it, link_it_elsewhere};
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct users *us = load("a:" MD5 "\n");
        assert_false(users_touched(us));
        MUST(usleep(20000) == 0); /* a tick of the clock that stamps files */
        ways[i]();
        assert_true(users_touched(us));
        users_unref(us);
    }
}

/* A folder on the way is replaced: only the path shows it. */
static void test_led_elsewhere(void **state)
{
    (void)state;
    struct users *us = load("a:" MD5 "\n");
    mkdir(FOLDER "/way", 0700);
    MUST(rename(PATH, FOLDER "/way/users") == 0);
    users_unref(us);
    us = users_load(FOLDER "/way/users", say, NULL);
    MUST(rename(FOLDER "/way", FOLDER "/left") == 0 && mkdir(FOLDER "/way", 0700) == 0);
    write_file("b:" MD5 "\n");
    MUST(rename(PATH, FOLDER "/way/users") == 0);
    assert_false(users_touched(us));
    assert_true(users_changed(us, FOLDER "/way/users"));
    users_unref(us);
    MUST(unlink(FOLDER "/way/users") == 0 && rmdir(FOLDER "/way") == 0);
    MUST(unlink(FOLDER "/left/users") == 0 && rmdir(FOLDER "/left") == 0);
}

/* Options of the same name are replaced as a whole, the others stay in their order. */
static void test_edit_options(void **state)
{
    (void)state;
    struct err e = {0};
    struct users_change c = {USERS_SET, "b", NULL, "from=new@x,rate=5/s", "burst,disabled"};
    write_file("b:" MD5 ":" SCRAM ",from=a@x, tag=k=v ,disabled,from=b@x,rate=1/s,burst=9\n");
    assert_int_equal(users_edit(PATH, &c, &e), 0);
    expect_file("b:" MD5 ":" SCRAM ",tag=k=v,from=new@x,rate=5/s\n");
    /* What the daemon would refuse does not get into the file. */
    c = (struct users_change){USERS_SET, "b", NULL, NULL, "rate"};
    write_file("b:" MD5 ":rate=1/s,burst=9\n");
    assert_int_equal(users_edit(PATH, &c, &e), -EINVAL);
    assert_non_null(strstr(e.text, "burst= needs a rate="));
    expect_file("b:" MD5 ":rate=1/s,burst=9\n");
    write_file("b:" MD5 ":" SCRAM ",tag=k=v,from=new@x,rate=5/s\n");
    c = (struct users_change){USERS_SET, "b", NULL, NULL, "from,tag,rate,scram"};
    assert_int_equal(users_edit(PATH, &c, &e), 0);
    expect_file("b:" MD5 "\n");
}

/* A password given through us has both secrets, and the file gets its key once. */
static void test_edit_secrets(void **state)
{
    (void)state;
    struct err e = {0};
    struct user_secrets s;
    struct user_scram_text before, after;
    write_file("b:" MD5 ":rate=1/s\n");
    assert_int_equal(users_hash(SLICE_LIT("one"), &s, &e), 0);
    struct users_change c = {USERS_PASSWORD, "b", &s, NULL, NULL};
    assert_int_equal(users_edit(PATH, &c, &e), 0);
    struct users *us = users_load(PATH, say, NULL);
    users_scram(us, NULL, SLICE_LIT("nobody"), &before);
    assert_non_null(users_find(us, SLICE_LIT("b"))->scram.iterations);
    assert_string_equal(users_find(us, SLICE_LIT("b"))->rate, "1/s");
    users_unref(us);
    assert_int_equal(users_hash(SLICE_LIT("two"), &s, &e), 0);
    assert_int_equal(users_edit(PATH, &c, &e), 0);
    c = (struct users_change){USERS_ADD, "c", &s, "disabled", NULL};
    assert_int_equal(users_edit(PATH, &c, &e), 0);
    us = users_load(PATH, say, NULL);
    assert_int_equal(us->n, 2);
    users_scram(us, NULL, SLICE_LIT("nobody"), &after);
    assert_string_equal(before.salt, after.salt);
    assert_true(users_verify(users_find(us, SLICE_LIT("b")), SLICE_LIT("two")));
    users_unref(us);
    assert_int_equal(edit(USERS_SET, "b", NULL, "rate=2/s"), 0); /* options leave it alone */
    us = users_load(PATH, say, NULL);
    assert_non_null(users_find(us, SLICE_LIT("b"))->scram.iterations);
    users_unref(us);
}

/* The mode stays (the hashes are no business of others), and a link stays a link. */
static void test_edit_keeps_mode_and_link(void **state)
{
    (void)state;
    struct err e = {0};
    struct stat st;
    struct user_secrets s = secrets_of(OTHER);
    struct users_change c = {USERS_ADD, "c", &s, "", NULL};
    write_file("");
    chmod(PATH, 0640);
    unlink(FOLDER "/link");
    assert_int_equal(symlink(PATH, FOLDER "/link"), 0);
    assert_int_equal(users_edit(FOLDER "/link", &c, &e), 0);
    expect_file("c:" OTHER "\n");
    stat(PATH, &st);
    assert_int_equal(st.st_mode & 07777, 0640);
    lstat(FOLDER "/link", &st);
    assert_true(S_ISLNK(st.st_mode));
}

/* Two administrators at once: no line is lost. */
static void test_edit_by_two(void **state)
{
    (void)state;
    write_file("");
    for (unsigned child = 0; child < 4; child++) {
        if (fork() != 0)
            continue;
        int rc = 0;
        for (unsigned i = 0; i < 10; i++) {
            char name[32];
            snprintf(name, sizeof name, "u%u-%u", child, i);
            rc |= edit(USERS_ADD, name, MD5, "");
        }
        _exit(rc != 0);
    }
    for (int status; wait(&status) > 0;)
        assert_int_equal(status, 0);
    struct users *us = users_load(PATH, say, NULL);
    assert_non_null(us);
    assert_int_equal(us->n, 40);
    users_unref(us);
}

int main(void)
{
    mkdir(FOLDER, 0700);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_scram_vector),
        cmocka_unit_test(test_scram_of_a_password),
        cmocka_unit_test(test_edit),
        cmocka_unit_test(test_touched),
        cmocka_unit_test(test_led_elsewhere),
        cmocka_unit_test(test_edit_options),
        cmocka_unit_test(test_edit_secrets),
        cmocka_unit_test(test_edit_keeps_mode_and_link),
        cmocka_unit_test(test_edit_by_two),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&told);
    return rc;
}
