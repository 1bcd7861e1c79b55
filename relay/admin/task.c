/*
 * A request on its way through the spooler, page by page. The page's rows are given as long as the
 * peer takes them; only when they are all given the next page is asked for, by the same message
 * moved back.
 */
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include <stdio.h>
#include <stdlib.h>

/* A listing's first pages are small: whoever reads its first rows only (`| head`) has them at once,
 * and has gone before many are gathered. */
enum { HEAD_MAX = 1024, FIRST_ROWS = 32, GROWTH = 4 };

/* ---- asking ---- */

static void send_step(struct peer *p, struct spooler_admin *a)
{
    p->task.asked = true;
    p->admin->outstanding++;
    port_send(spooler_port(p->admin->spooler), &a->msg);
    if (request_changes(p->task.request.verb))
        waits_begin(p->admin);
}

static void move_buf(struct buf *to, struct buf *from)
{
    buf_done(to);
    *to = *from;
    *from = (struct buf){0};
}

/* How many rows, over all pages. */
static uint64_t rows_wanted(const struct request *r)
{
    if (r->dry_run)
        return SAMPLE_ROWS;
    if (r->count)
        return 0;
    return r->limit ? r->limit : r->sort ? ADMIN_SORT_MAX : UINT64_MAX;
}

static void ask(struct peer *p, enum admin_verb verb)
{
    struct task *t = &p->task;
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->msg.type = SPOOLER_ADMIN;
    a->reply = &p->admin->from_spool;
    a->cookie = p;
    a->verb = verb;
    a->dry_run = t->request.dry_run;
    a->rows_max = rows_wanted(&t->request);
    a->page_rows = verb == ADMIN_LIST ? FIRST_ROWS : 0;
    a->count = t->request.count;
    a->sort = a->count ? SORT_NONE : t->request.sort;
    a->priority = t->request.priority;
    move_buf(&a->route, &t->request.destination);
    a->filter = t->request.filter;
    t->request.filter = (struct queue_filter){0};
    buf_init(&a->actor, sizeof p->actor);
    buf_add_str(&a->actor, p->actor);
    move_buf(&a->reason, &t->request.reason);
    /* Behind the recipient that was given last. */
    if (t->request.after.id)
        a->at = (struct queue_place){t->request.after.id, t->request.after.rcpt + 1};
    send_step(p, a);
}

void task_drop_page(struct task *t)
{
    if (t->page)
        spooler_admin_free(t->page);
    t->page = NULL;
    t->at = 0;
}

bool task_owes_progress(struct peer *p)
{
    struct task *t = &p->task;
    struct mono now = loop_now(p->admin->loop);
    if (now.ms - t->said.ms < PROGRESS_MS || peer_unsent(p) > 0)
        return false;
    t->said = now;
    return true;
}

static void say_progress(struct peer *p)
{
    if (!task_owes_progress(p))
        return;
    const struct task *t = &p->task;
    json_t *o = json_object();
    rows_put_number(o, "matched", t->page->matched);
    rows_put_number(o, "changed", t->page->changed);
    peer_progress(p, o);
}

void task_next_page(struct peer *p)
{
    say_progress(p);
    struct spooler_admin *a = TAKE_PTR(p->task.page);
    p->task.at = 0;
    a->at = a->next;
    if (a->n_rows)
        a->page_rows *= a->page_rows < PAGE_ROWS ? GROWTH : 1;
    send_step(p, a);
}

void task_end(struct task *t)
{
    task_drop_page(t);
    if (t->exported)
        spooler_export_free(t->exported);
    explain_drop(t->explaining);
    trace_drop(t->tracing);
    request_done(&t->request);
    buf_done(&t->head);
    *t = (struct task){.asked = t->asked};
}

/* ---- answers ---- */

/* Rows of the page. False: the peer must read first. */
static bool give_rows(struct peer *p)
{
    struct task *t = &p->task;
    for (; t->at < t->page->n_rows; t->at++) {
        const struct queue_row *r = &t->page->rows[t->at];
        if (peer_unsent(p) > PEER_UNSENT_MAX)
            return false;
        peer_row_recipient(p, r);
        t->request.after = (struct place){r->id, r->rcpt};
        t->said = loop_now(p->admin->loop);
        t->given++;
    }
    return true;
}

static void list(struct peer *p)
{
    struct task *t = &p->task;
    if (t->page->sort && !t->request.limit && t->page->matched > ADMIN_SORT_MAX) {
        peer_error(p, "usage", "more than 10,000 recipients match: sort them with a limit");
        return;
    }
    if (!give_rows(p))
        return;
    bool more = t->page->next.id != 0;
    if (more && (t->request.count || t->given < t->page->rows_max)) {
        task_next_page(p);
        return;
    }
    json_t *done = json_object();
    rows_put_number(done, "matched",
                    t->request.count || t->page->sort ? t->page->matched : t->given);
    if (more) {
        char place[PLACE_SIZE];
        place_write(t->request.after, place);
        rows_put(done, "next", json_string(place));
    }
    peer_done(p, done);
}

static void show(struct peer *p)
{
    struct task *t = &p->task;
    if (t->page->rows_given == 0) {
        peer_no_message(p);
        return;
    }
    if (t->request.verb == VERB_CAT) {
        uint64_t size = t->page->rows[0].size;
        task_drop_page(t);
        content_begin(p, size);
        return;
    }
    if (!give_rows(p))
        return;
    if (t->page->next.id) {
        task_next_page(p);
        return;
    }
    if (t->page->n_rows == 0) {
        peer_error(p, "not-found", "the message has left the queue meanwhile");
        return;
    }
    const struct queue_row *r = &t->page->rows[0];
    json_t *done = json_object();
    char id[QUEUE_ID_SIZE];
    queue_id_write(r->id, id);
    rows_put(done, "queue_id", json_string(id));
    rows_put(done, "sender", rows_text(r->sender));
    rows_put_text(done, "message_id", r->message_id);
    rows_put_text(done, "envid", r->envid);
    rows_put_number(done, "size", r->size);
    rows_put(done, "queued_time", rows_time(r->queued));
    rows_put(done, "expires", rows_time(r->expires));
    struct asked asked = {
        .params = r->params, .release = r->release, .by_deadline = r->by_deadline};
    asked.tags = buf_of(r->tags);
    asked.route = buf_of(r->route);
    asked_put(done, &asked);
    asked_done(&asked);
    peer_done(p, done);
}

/* The sites come with the first page, and go with the next. */
static bool give_sites(struct peer *p)
{
    struct task *t = &p->task;
    for (; t->at < t->page->n_sites; t->at++) {
        if (peer_unsent(p) > PEER_UNSENT_MAX)
            return false;
        peer_row(p, rows_site(&t->page->sites[t->at]));
    }
    return true;
}

static void totals(struct peer *p)
{
    struct task *t = &p->task;
    if (!give_sites(p))
        return;
    if (t->page->next.id) {
        task_next_page(p);
        return;
    }
    if (t->request.verb == VERB_STATUS) {
        peer_done(p, status_done(p->admin, t->page));
        return;
    }
    json_t *done = rows_totals(&t->page->totals, wall_now());
    rows_put_ages(done, &t->page->totals);
    rows_put_errors(done, &t->page->totals);
    json_t *warnings = json_array();
    status_disk(warnings, &t->page->totals.disk);
    rows_put(done, "warnings", warnings);
    peer_done(p, done);
}

static enum admin_verb change_verb(enum verb v)
{
    static const enum admin_verb verbs[] = {
        [VERB_RETRY] = ADMIN_RETRY,       [VERB_REMOVE] = ADMIN_REMOVE,
        [VERB_HOLD] = ADMIN_HOLD,         [VERB_RELEASE] = ADMIN_RELEASE,
        [VERB_BOUNCE] = ADMIN_BOUNCE,     [VERB_EXPIRE] = ADMIN_EXPIRE,
        [VERB_REDIRECT] = ADMIN_REDIRECT, [VERB_PRIORITY] = ADMIN_PRIORITY,
    };
    return verbs[v];
}

static void change(struct peer *p)
{
    struct task *t = &p->task;
    if (!give_rows(p)) /* of a dry run */
        return;
    if (t->page->next.id) {
        task_next_page(p);
        return;
    }
    json_t *done = json_object();
    rows_put_number(done, "matched", t->page->matched);
    rows_put_number(done, "changed", t->page->changed);
    rows_put_number(done, "skipped", t->page->skipped);
    rows_put_number(done, "in_flight", t->page->in_flight);
    rows_put_number(done, "failed", t->page->failed);
    peer_done(p, done);
}

static void go_on_with_page(struct peer *p)
{
    switch (p->task.request.verb) {
    case VERB_STATUS:
    case VERB_SUMMARY:
        totals(p);
        break;
    case VERB_LIST:
        list(p);
        break;
    case VERB_SHOW:
    case VERB_CAT:
        show(p);
        break;
    case VERB_RETRY:
    case VERB_REMOVE:
    case VERB_HOLD:
    case VERB_RELEASE:
    case VERB_BOUNCE:
    case VERB_EXPIRE:
    case VERB_REDIRECT:
    case VERB_PRIORITY:
        change(p);
        break;
    case VERB_NONE:
    case VERB_EXPORT:
    case VERB_IMPORT_BEGIN:
    case VERB_IMPORT_RECIPIENTS:
    case VERB_IMPORT_DATA:
    case VERB_IMPORT_END:
    case VERB_SPOOL_CHECK:
    case VERB_RELOAD:
    case VERB_DRAIN:
    case VERB_STOP:
    case VERB_LOG_REOPEN:
    case VERB_LOG_ROTATE:
    case VERB_CLIENT_LIST:
    case VERB_CLIENT_BAN:
    case VERB_CLIENT_ALLOW:
    case VERB_SUPPRESS_LIST:
    case VERB_SUPPRESS_ADD:
    case VERB_SUPPRESS_REMOVE:
        UNREACHABLE();
    case VERB_DESTINATION_LIST:
    case VERB_DESTINATION_SUSPEND:
    case VERB_DESTINATION_RESUME:
        destinations_go_on(p);
        break;
    case VERB_EXPLAIN:
    case VERB_PROBE:
        explain_go_on(p);
        break;
    case VERB_TRACE:
        UNREACHABLE();
    }
}

void task_go_on(struct peer *p)
{
    struct task *t = &p->task;
    if (t->active && t->tracing)
        trace_go_on(p);
    if (!t->active || t->asked)
        return;
    if (t->page)
        go_on_with_page(p);
    else if (t->request.verb == VERB_CLIENT_LIST)
        clients_go_on(p);
    else if (t->request.verb == VERB_SUPPRESS_LIST)
        suppress_go_on(p);
    else if (t->checked)
        check_go_on(p);
    else if (t->exported && !t->giving_content)
        export_go_on(p);
    else
        content_go_on(p);
    peer_flush(p);
}

void task_answered(struct peer *p, struct msg *m)
{
    void *v = m;
    p->task.asked = false;
    p->admin->outstanding--;
    switch (m->type) {
    case SPOOLER_READ:
        content_answered(p, v);
        break;
    case SPOOLER_EXPORT:
        export_answered(p, v);
        break;
    case SPOOLER_CHECK:
        check_answered(p, v);
        break;
    case SPOOLER_BODY:
        import_body_answered(p, v);
        break;
    case SPOOLER_STORE:
        import_store_answered(p, v);
        break;
    default:
        p->task.page = v;
        if (request_looks(p->task.request.verb) && peer_has_gone(p))
            peer_close(p);
        if (uv_is_closing((uv_handle_t *)&p->pipe))
            task_drop_page(&p->task);
    }
    if (uv_is_closing((uv_handle_t *)&p->pipe))
        peer_free_if_over(p);
    else
        task_go_on(p);
}

/* Of a peer that has gone it is only waited for. */
void task_lines(void *admin, struct msg *m)
{
    struct admin *a = admin;
    struct lines *l = (struct lines *)(void *)m;
    struct peer *p = l->cookie;
    if (p->task.tracing) {
        trace_lines(p, l);
        admin_stop_if_over(a);
        return;
    }
    if (l->last) {
        p->task.asked = false;
        a->outstanding--;
    }
    if (!uv_is_closing((uv_handle_t *)&p->pipe)) {
        explain_lines(p, l);
        peer_flush(p);
    } else {
        const bool last = l->last;
        lines_free(l);
        if (last)
            peer_free_if_over(p);
    }
    admin_stop_if_over(a);
}

/* ---- beginning ---- */

static void reload(struct peer *p)
{
    const struct admin_hooks *h = &p->admin->hooks;
    struct err e = {0};
    if (h->reload(h->ctx, &e) < 0)
        peer_error(p, "failed", e.text);
    else
        peer_done(p, json_object());
}

/* Answered first: what the hook begins may end us. */
static void order(struct peer *p, void (*hook)(void *ctx))
{
    peer_done(p, json_object());
    hook(p->admin->hooks.ctx);
}

static void ask_one(struct peer *p)
{
    struct queue_filter *f = &p->task.request.filter;
    f->ids = must_alloc(sizeof *f->ids);
    f->ids[0] = p->task.request.message;
    f->n_ids = 1;
    ask(p, ADMIN_SHOW);
}

/* Mail is not sent to a destination that is not there: it would take the way of its domain. */
static void redirect(struct peer *p)
{
    const struct slice to = buf_slice(&p->task.request.destination);
    char message[300];
    if (to.n == 0 || conf_by_name(p->admin->conf, to)) {
        ask(p, ADMIN_REDIRECT);
        return;
    }
    snprintf(message, sizeof message, "the configuration has no destination called %.*s",
             SLICE_ARG(slice_head(to, 200)));
    peer_error(p, "usage", message);
}

void task_begin(struct peer *p, struct request *r)
{
    struct task *t = &p->task;
    *t = (struct task){.active = true, .request = *r};
    *r = (struct request){0};
    t->said = loop_now(p->admin->loop);
    buf_init(&t->head, HEAD_MAX);
    rows_head(&t->head, t->request.id, "row");
    switch (t->request.verb) {
    case VERB_STATUS:
        ask(p, ADMIN_STATUS);
        break;
    case VERB_SUMMARY:
        ask(p, ADMIN_QUEUE);
        break;
    case VERB_LIST:
        ask(p, ADMIN_LIST);
        break;
    case VERB_SHOW:
    case VERB_CAT:
        ask_one(p);
        break;
    case VERB_EXPORT:
        export_begin(p);
        break;
    case VERB_IMPORT_BEGIN:
    case VERB_IMPORT_RECIPIENTS:
    case VERB_IMPORT_DATA:
    case VERB_IMPORT_END:
        import_step(p);
        break;
    case VERB_SPOOL_CHECK:
        check_begin(p);
        break;
    case VERB_RETRY:
    case VERB_REMOVE:
    case VERB_HOLD:
    case VERB_RELEASE:
    case VERB_BOUNCE:
    case VERB_EXPIRE:
    case VERB_PRIORITY:
        ask(p, change_verb(t->request.verb));
        break;
    case VERB_REDIRECT:
        redirect(p);
        break;
    case VERB_RELOAD:
        reload(p);
        break;
    case VERB_DRAIN:
        order(p, p->admin->hooks.drain);
        break;
    case VERB_STOP:
        order(p, p->admin->hooks.stop);
        break;
    case VERB_LOG_REOPEN:
        events_reopen(p->admin->events);
        peer_done(p, json_object());
        break;
    case VERB_LOG_ROTATE:
        log_rotate_begin(p);
        break;
    case VERB_CLIENT_LIST:
        clients_go_on(p);
        break;
    case VERB_CLIENT_BAN:
    case VERB_CLIENT_ALLOW:
        clients_ban_or_allow(p);
        break;
    case VERB_SUPPRESS_LIST:
        suppress_go_on(p);
        break;
    case VERB_SUPPRESS_ADD:
    case VERB_SUPPRESS_REMOVE:
        suppress_change(p);
        break;
    case VERB_DESTINATION_LIST:
    case VERB_DESTINATION_SUSPEND:
    case VERB_DESTINATION_RESUME:
        ask(p, ADMIN_STATUS);
        break;
    case VERB_EXPLAIN:
    case VERB_PROBE:
        if (t->request.message)
            ask_one(p);
        else
            explain_address(p);
        break;
    case VERB_TRACE:
        trace_begin(p);
        break;
    case VERB_NONE:
        UNREACHABLE();
    }
}
