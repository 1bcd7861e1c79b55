/* Who may speak: logins, the users file as it changes, reloads, limits. */
#include "relay/base/metrics.h"
#include "relay/inbound/turns.h"
#include "tests/unit/inbound/world.h"
#include <openssl/evp.h>

static void say_plain(struct line *l, const char *user, const char *password)
{
    unsigned char raw[300] = {0}, text[600];
    size_t nu = strlen(user), np = strlen(password);
    char command[700];
    memcpy(raw + 1, user, nu);
    memcpy(raw + 2 + nu, password, np);
    EVP_EncodeBlock(text, raw, (int)(2 + nu + np));
    snprintf(command, sizeof command, "AUTH PLAIN %s\r\n", text);
    say(l, command);
}

static void plain(struct line *l, const char *user, const char *password, const char *hears)
{
    say_plain(l, user, password);
    hear(l, hears);
}

static void login(const struct world *w, const char *user, const char *password, const char *hears)
{
    struct line l = submission(w);
    plain(&l, user, password, hears);
    line_end(&l);
}

static void a_change_of_the_users_file_is_live(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    login(w, "u", "one", "535 5.7.8");
    write_user(w, "u", "one", "");
    login(w, "u", "one", "235 ");
    login(w, "u", "one", "235 "); /* remembered */
    write_user(w, "u", "two", "");
    login(w, "u", "one", "535 5.7.8"); /* not any more */
    login(w, "u", "two", "235 ");
    struct line l = submission(w);
    plain(&l, "u", "two", "235 ");
    talk(&l, "MAIL FROM:<any@where.test>\r\n", "250 ");
    talk(&l, "RSET\r\n", "250 ");
    write_user(w, "u", "two", "from=*@a.test");
    talk(&l, "MAIL FROM:<any@where.test>\r\n", "553 5.7.1");
    talk(&l, "MAIL FROM:<any@a.test>\r\n", "250 ");
    talk(&l, "RSET\r\n", "250 ");
    write_file(w, "users", ""); /* the user is gone, his session is not */
    talk(&l, "MAIL FROM:<any@a.test>\r\n", "550 5.7.1");
    line_end(&l);
    login(w, "u", "two", "535 5.7.8");
    world_free(w);
}

static void a_broken_users_file_leaves_the_last_one_in_force(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "");
    login(w, "u", "one", "235 ");
    write_file(w, "users", "this is no line\n");
    login(w, "u", "one", "235 ");
    write_user(w, "u", "two", "");
    usleep(1100000); /* it is looked at again */
    login(w, "u", "two", "235 ");
    world_free(w);
}

/* No file, no answer about passwords: it is our trouble (checklist 10). */
static void no_users_file(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    char path[200];
    snprintf(path, sizeof path, "%s/users", w->folder);
    unlink(path);
    login(w, "u", "one", "454 4.7.0");
    world_free(w);
}

static void three_guesses(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "");
    struct line l = submission(w);
    for (int i = 0; i < 2; i++)
        plain(&l, "u", "wrong", "535 5.7.8");
    plain(&l, "nobody", "wrong", "535 5.7.8");
    hear(&l, "421 4.7.0");
    hear_end(&l);
    line_end(&l);
    world_free(w);
}

/* The client leaves while its password is with the hasher, or in the middle of the exchange. */
static void gone_during_a_login(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "");
    for (int i = 0; i < 6; i++) {
        struct line l = submission(w);
        say(&l, i % 2 ? "AUTH LOGIN\r\n" : "AUTH PLAIN AHUAb25l\r\n");
        if (i == 3)
            hear(&l, "334 ");
        hang_up(dup(l.fd), i % 3);
        line_end(&l);
    }
    all_sessions_end(w);
    struct line l = submission(w);
    say(&l, "AUTH PLAIN AHUAb3RoZXI=\r\n"); /* with the hasher when the daemon ends */
    usleep(10000);
    world_free(w);
    line_end(&l);
}

/* This machine is a client like any other, who may guess so often. */
static void no_grace(struct world *w, unsigned auth_failures)
{
    char more[100];
    snprintf(more, sizeof more, "} clients { allow = { \"192.0.2.1\" } auth-failures = %u ",
             auth_failures);
    struct conf *fresh = load_conf(w, more);
    inbound_reconfigure(w->in, fresh, w->tls);
    conf_unref(w->conf);
    w->conf = fresh;
    loop_has_read(w);
}

/* What waits for the hasher when the ban comes was neither right nor wrong: it is not told to be,
 * and not counted. Checklist 10. */
static void passwords_that_wait_when_the_ban_comes(void **state)
{
    (void)state;
    enum { GUESSERS = TURNS_MAX_CLIENT };
    struct world *w = world_new(0, "");
    struct line l[GUESSERS];
    char password[16];
    no_grace(w, 2);
    write_user(w, "u", "one", "");
    for (unsigned i = 0; i < GUESSERS; i++)
        l[i] = submission(w);
    const int64_t before = metric_get(M_AUTH_FAILED);
    for (unsigned i = 0; i < GUESSERS; i++) {
        snprintf(password, sizeof password, "wrong %u", i);
        say_plain(&l[i], "u", i + 1 < GUESSERS ? password : "one");
    }
    /* Those looked at before the ban hear what they were: how many, says how busy the machine is.
     * (They are hashed for more than a second, and two failures have to be heard of by then.) */
    unsigned looked_at = 0;
    for (unsigned i = 0; i < GUESSERS; i++) {
        const char *found = i + 1 < GUESSERS ? "535 5.7.8" : "235 ";
        char reply[1100];
        hear_reply(&l[i], reply);
        bool hashed = strncmp(reply, found, strlen(found)) == 0;
        assert_true(hashed || strncmp(reply, "421 4.7.0 too many failed logins", 32) == 0);
        looked_at += hashed;
    }
    assert_in_range(looked_at, 1, GUESSERS - 1);
    assert_in_range(metric_get(M_AUTH_FAILED) - before, 2, GUESSERS - 1);
    for (unsigned i = 0; i < GUESSERS; i++)
        line_end(&l[i]);
    world_free(w);
}

/* Promise 16: the hasher's queue is not one client's alone. */
static void a_client_has_its_share_of_the_hasher(void **state)
{
    (void)state;
    enum { GUESSERS = TURNS_MAX_CLIENT + 45 };
    struct world *w = world_new(0, "");
    struct line l[GUESSERS];
    char reply[1100], password[16];
    no_grace(w, 0);
    write_user(w, "u", "one", "");
    struct gate hasher;
    for (unsigned i = 0; i < GUESSERS; i++)
        l[i] = submission(w);
    hold_hasher(&hasher, w);
    for (unsigned i = 0; i < GUESSERS; i++) {
        snprintf(password, sizeof password, "wrong %u", i);
        say_plain(&l[i], "u", password);
        if (i < TURNS_MAX_CLIENT)
            continue;
        hear_reply(&l[i], reply);
        assert_string_equal(reply, "454 4.7.0 Too many logins of your address are being checked, "
                                   "try again in a moment\r\n");
    }
    let_go(&hasher);
    gate_gone(&hasher);
    for (unsigned i = 0; i < GUESSERS; i++) {
        hang_up(dup(l[i].fd), true);
        line_end(&l[i]);
    }
    world_free(w); /* and what waits is not hashed when the daemon ends */
}

/* A credential that many connections bring at once, as when a program starts with a pool of them,
 * costs one hashing. */
static void many_logins_with_one_credential(void **state)
{
    (void)state;
    enum { POOL = 40 };
    struct world *w = world_new(0, "");
    struct line l[POOL];
    no_grace(w, 0);
    write_user(w, "u", "one", "");
    for (unsigned i = 0; i < POOL; i++)
        l[i] = submission(w);
    for (unsigned i = 0; i < POOL; i++)
        say_plain(&l[i], "u", "one");
    for (unsigned i = 0; i < POOL; i++) {
        hear(&l[i], "235 ");
        line_end(&l[i]);
    }
    world_free(w);
}

/* The configuration that the room was made with is gone after a reload; what stays in use is a copy
 * of its own. */
static void logins_after_a_reload(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "u", "one", "");
    login(w, "u", "one", "235 ");
    struct conf *fresh = load_conf(w, "");
    inbound_reconfigure(w->in, fresh, w->tls);
    conf_unref(w->conf);
    w->conf = fresh;
    write_user(w, "u", "two", "");
    login(w, "u", "two", "235 ");
    login(w, "u", "one", "535 ");
    world_free(w);
}

static int64_t serial_seen(struct line *l)
{
    X509 *x = SSL_get1_peer_certificate(l->ssl);
    assert_non_null(x);
    int64_t hash = (int64_t)X509_issuer_and_serial_hash(x);
    X509_free(x);
    return hash;
}

static int64_t certificate_of(const struct world *w, size_t listener)
{
    struct line l = {0};
    if (listener == SUBMISSION) {
        l = submission(w);
    } else {
        l.fd = call(w, SUBMISSIONS);
        line_tls(&l);
        hear(&l, "220 ");
    }
    int64_t serial = serial_seen(&l);
    line_end(&l);
    return serial;
}

/* A renewed certificate is shown from the next connection on, on both kinds of listeners. */
static void certificate_after_a_reload(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    int64_t before = certificate_of(w, SUBMISSION);
    assert_true(certificate_of(w, SUBMISSIONS) == before);
    struct tls_context *fresh = make_tls();
    inbound_reconfigure(w->in, w->conf, fresh);
    tls_context_unref(w->tls);
    w->tls = fresh;
    loop_has_read(w);
    int64_t after = certificate_of(w, SUBMISSION);
    assert_true(after != before);
    assert_true(certificate_of(w, SUBMISSIONS) == after);
    world_free(w);
}

static void connections_are_counted(void **state)
{
    (void)state;
    struct world *w = world_new(0, "max-connections-per-client = 2");
    struct line one = {.fd = call(w, TRUSTED)}, two = {.fd = call(w, TRUSTED)};
    hear(&one, "220 ");
    hear(&two, "220 ");
    struct line three = {.fd = call(w, TRUSTED)};
    hear(&three, "421 4.7.0");
    hear_end(&three);
    line_end(&three);
    talk(&one, "QUIT\r\n", "221 ");
    line_end(&one);
    for (int i = 0; inbound_shared_sessions(w->shared) > 1 && i < PATIENCE_S * 100; i++)
        usleep(10000);
    one = (struct line){.fd = call(w, TRUSTED)};
    hear(&one, "220 ");
    line_end(&one);
    line_end(&two);
    world_free(w);
}

/* Being refused is cheap for us: a stranger fills neither log nor disk. */
static void refusals_of_a_stranger_are_not_all_told(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct line l = {.fd = call(w, SUBMISSION)};
    hear(&l, "220 ");
    talk(&l, "EHLO c\r\n", "250 ");
    for (int i = 0; i < 1000; i++) {
        char reply[1100];
        say(&l, "MAIL FROM:<s@a.test>\r\n");
        hear_reply(&l, reply);
        if (reply[0] != '5')
            break;
    }
    line_end(&l);
    all_sessions_end(w);
    for (int i = 0; w->rejected < 20 && i < PATIENCE_S * 100; i++)
        usleep(10000); /* events become durable first */
    usleep(50000);     /* a 21st would come now */
    assert_int_equal(w->rejected, 20);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_of_the_users_file_is_live),
        cmocka_unit_test(a_broken_users_file_leaves_the_last_one_in_force),
        cmocka_unit_test(no_users_file),
        cmocka_unit_test(three_guesses),
        cmocka_unit_test(gone_during_a_login),
        cmocka_unit_test(passwords_that_wait_when_the_ban_comes),
        cmocka_unit_test(a_client_has_its_share_of_the_hasher),
        cmocka_unit_test(many_logins_with_one_credential),
        cmocka_unit_test(logins_after_a_reload),
        cmocka_unit_test(certificate_after_a_reload),
        cmocka_unit_test(connections_are_counted),
        cmocka_unit_test(refusals_of_a_stranger_are_not_all_told),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    SSL_CTX_free(client_ctx());
    return failed;
}
