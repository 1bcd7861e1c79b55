/*
 * The metrics door: GET /metrics (Prometheus), /healthz (the process runs), /readyz (it takes
 * mail), by libmicrohttpd on the admin thread's loop. Off unless http.address is configured.
 * Whoever can reach the address may read; nothing can be changed here.
 *
 * Bounds: 16 connections, 10 s of silence, 16 KiB of request each; one question to the spooler at a
 * time, whose answer serves all who wait for it, for at most 5 s (then 503).
 */
#pragma once
#include "relay/base/err.h"
#include "relay/loop/inbox.h"

struct admin;
struct http;
/* address: "127.0.0.1:9587", "[::1]:9587". Before the loop runs. */
int http_new(struct http **ret, struct admin *a, const char *address, struct err *e);
/* On the loop's thread: takes no more; those who wait hear 503. */
void http_stop(struct http *h);
void http_free(struct http *h); /* NULL is fine; after the loop has ended, or before it began */
