#include "relay/base/jrow.h"
#include "relay/base/jtext.h"

/* Between two of a kind; at the beginning of an object or list there is nothing. */
static void comma(struct buf *out)
{
    uint8_t last = out->n ? out->p[out->n - 1] : '{';
    if (last != '{' && last != '[' && last != '\n' && last != ':')
        buf_add_u8(out, ',');
}

static void key_of(struct buf *out, const char *key)
{
    comma(out);
    jtext_string(out, slice_str(key), SIZE_MAX, SIZE_MAX);
    buf_add_u8(out, ':');
}

void jrow_begin(struct buf *out)
{
    comma(out);
    buf_add_u8(out, '{');
}

void jrow_close(struct buf *out)
{
    buf_add_u8(out, '}');
}

void jrow_end(struct buf *out)
{
    buf_add(out, SLICE_LIT("}\n"));
}

void jrow_text(struct buf *out, const char *key, struct slice value)
{
    key_of(out, key);
    jtext_string(out, value, JROW_TEXT_MAX, SIZE_MAX);
}

void jrow_some(struct buf *out, const char *key, struct slice value)
{
    if (value.n > 0)
        jrow_text(out, key, value);
}

void jrow_number(struct buf *out, const char *key, uint64_t value)
{
    key_of(out, key);
    jtext_number(out, value < INT64_MAX ? value : INT64_MAX);
}

void jrow_bool(struct buf *out, const char *key, bool value)
{
    key_of(out, key);
    buf_add_str(out, value ? "true" : "false");
}

void jrow_time(struct buf *out, const char *key, struct wall value)
{
    char text[WALL_RFC3339_SIZE];
    wall_rfc3339(value, text);
    jrow_text(out, key, slice_str(text));
}

void jrow_list(struct buf *out, const char *key)
{
    key_of(out, key);
    buf_add_u8(out, '[');
}

void jrow_item(struct buf *out, struct slice text)
{
    comma(out);
    jtext_string(out, text, JROW_TEXT_MAX, SIZE_MAX);
}

void jrow_item_number(struct buf *out, uint64_t value)
{
    comma(out);
    jtext_number(out, value < INT64_MAX ? value : INT64_MAX);
}

void jrow_list_end(struct buf *out)
{
    buf_add_u8(out, ']');
}
