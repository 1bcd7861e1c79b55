#include "dns/name.h"
#include "relay/base/utf8.h"
#include <idn2.h>

/* 63 characters of four bytes for each of 127 labels cannot be a name; neither can half of it. */
enum { NAME_MAX = 253, LABEL_MAX = 63, UNICODE_MAX = 1024 };

static bool is_label_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool label_is_good(struct slice label)
{
    if (label.n == 0 || label.n > LABEL_MAX)
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!is_label_byte(byte_lower(label.p[i])))
            return false;
    return true;
}

static bool is_number(struct slice label)
{
    for (size_t i = 0; i < label.n; i++)
        if (label.p[i] < '0' || label.p[i] > '9')
            return false;
    return true;
}

static bool parse_ascii(struct slice s, char *ret_name)
{
    if (s.n && s.p[s.n - 1] == '.')
        s.n--;
    if (s.n == 0 || s.n > NAME_MAX || s.p[s.n - 1] == '.')
        return false;
    for (struct slice rest = s; rest.n;) {
        struct slice label = slice_cut(&rest, '.');
        if (!label_is_good(label) || (rest.n == 0 && is_number(label)))
            return false;
    }
    memset(ret_name, 0, DNS_NAME_SIZE);
    for (size_t i = 0; i < s.n; i++)
        ret_name[i] = (char)byte_lower(s.p[i]);
    return true;
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return false;
    return true;
}

bool dns_name_parse(struct slice s, char ret_name[DNS_NAME_SIZE])
{
    /* ASCII names do not pass libidn2: it refuses names that are in use ("r3---sn.example"). */
    if (is_ascii(s))
        return parse_ascii(s, ret_name);
    if (s.n > UNICODE_MAX || !utf8_valid(s) || slice_find(s, 0) < s.n)
        return false;
    char text[UNICODE_MAX + 1] = {0}, *ascii = NULL;
    memcpy(text, s.p, s.n);
    int rc = idn2_to_ascii_8z(text, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
    bool ok = rc == IDN2_OK && parse_ascii(slice_str(ascii), ret_name);
    idn2_free(ascii);
    return ok;
}
