/* How connections come about. If this breaks, a dead host holds a delivery up, or the wrong source
 * address is used. */
#include "tests/unit/net/pair.h"

static void close_after(struct peer *p, enum event e)
{
    if (e == EV_CONNECTED || e == EV_EOF)
        net_conn_close(p->c);
    closed_one(p, e);
}

static void refused(void **state)
{
    (void)state;
    struct server nobody = {0};
    close(listening_fd(&nobody.addr)); /* a port that nobody has */
    client_init(&client, loop, &nobody);
    client.on = close_after;
    net_conn_send(client.c, SLICE_LIT("never sent"));
    run_for(loop, 10000);
    assert_int_equal(client.connect_err, -ECONNREFUSED);
    assert_int_equal(client.count[EV_CONNECTED], 1);
    assert_int_equal(client.count[EV_EOF] + client.count[EV_SENT], 0);
    peer_done(&client);
}

/* A full backlog answers nothing, as a host behind a silent firewall does. */
static void no_answer(void **state)
{
    (void)state;
    struct sockaddr_storage addr = {0};
    int fillers[8], fd = listening_fd(&addr);
    listen(fd, 0);
    for (unsigned i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&addr, sizeof(struct sockaddr_in));
    }
    peer_init(&client, loop);
    const struct mono began = loop_now(loop); /* whose time stands still before it runs */
    client.c = net_connect(loop, (struct sockaddr *)&addr, NULL, 200, &peer_handler, &client);
    client.on = close_after;
    over_within(loop, 250);
    run_for(loop, 10000);
    int64_t took = mono_now().ms - began.ms;
    assert_int_equal(client.connect_err, -ETIMEDOUT);
    assert_int_equal(client.count[EV_CONNECTED], 1);
    assert_true(took >= 200);
    peer_done(&client);
    for (unsigned i = 0; i < 8; i++)
        close(fillers[i]);
    close(fd);
}

static void bad_source(void **state)
{
    (void)state;
    struct sockaddr_storage source = {0};
    struct err e = {0};
    /* An address that this machine does not have: told from the loop, not before the caller knows.
     */
    assert_int_equal(net_parse_address(SLICE_LIT("192.0.2.77:0"), &source, &e), 0);
    peer_init(&client, loop);
    client.on = close_after;
    client.c = net_connect(loop, (struct sockaddr *)&server.addr, (struct sockaddr *)&source, 5000,
                           &peer_handler, &client);
    assert_int_equal(client.count[EV_CONNECTED], 0);
    run_for(loop, 10000);
    assert_int_equal(client.connect_err, -EADDRNOTAVAIL);
    peer_done(&client);
}

static void take_source(struct peer *p, enum event e)
{
    struct net_names *names = p->data;
    if (e == EV_CONNECTED)
        net_conn_names(p->c, names);
    close_after(p, e);
}

static void source_and_names(void **state)
{
    (void)state;
    struct sockaddr_storage source = {0};
    struct err e = {0};
    struct net_names names = {0};
    assert_int_equal(net_parse_address(SLICE_LIT("127.0.0.5:0"), &source, &e), 0);
    peer_init(&client, loop);
    client.on = take_source;
    client.data = &names;
    client.c = net_connect(loop, (struct sockaddr *)&server.addr, (struct sockaddr *)&source, 5000,
                           &peer_handler, &client);
    for (unsigned i = 0; i < 4; i++)
        served[i].on = close_on_eof;
    to_close = 2;
    run_for(loop, 10000);
    assert_int_equal(client.connect_err, 0);
    assert_string_equal(names.local_ip, "127.0.0.5");
    assert_string_equal(names.peer_ip, "127.0.0.1");
    assert_int_equal(names.peer_port, ntohs(((struct sockaddr_in *)&server.addr)->sin_port));
    assert_true(names.local_port > 0);
    peer_done(&client);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(refused),
        T(no_answer),
        T(bad_source),
        T(source_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
