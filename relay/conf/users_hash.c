/* Passwords by libxcrypt: our own hashes are yescrypt, any other that crypt(3) knows is verified
 * too. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/conf/users.h"
#include <crypt.h>
#include <errno.h>

#define METHOD "$y$"

/* Of nobody's password: what a user who does not exist is compared with, so that guessing names
 * tells nothing by its time. */
static const char nobody[] =
    "$y$j9T$JqTmCyEJVxITszOs4hnLL.$gGXuxBfRCM0ewaLsYF.mMIWW2TCvfX.HmDdlM5n.Dn3";

static bool same(const char *a, const char *b)
{
    size_t n = strlen(a);
    uint8_t difference = strlen(b) != n;
    for (size_t i = 0; i < n && !difference; i++)
        difference = (uint8_t)(difference | (a[i] ^ b[i]));
    return !difference;
}

bool users_verify(const struct user *u, struct slice password)
{
    const char *hash = u ? u->hash : nobody;
    DEFER_FREE struct crypt_data *work = must_alloc(sizeof *work);
    bool usable = u && hash[0] != '*' && hash[0] != '!' && slice_find(password, 0) == password.n &&
                  password.n < CRYPT_MAX_PASSPHRASE_SIZE;
    char text[CRYPT_MAX_PASSPHRASE_SIZE] = "x";
    if (usable) {
        memcpy(text, password.p ? (const char *)password.p : "", password.n);
        text[password.n] = 0;
    }
    const char *found = crypt_r(text, usable ? hash : nobody, work);
    bool ok = usable && found && found[0] != '*' && same(found, hash);
    explicit_bzero(text, sizeof text);
    explicit_bzero(work, sizeof *work);
    return ok;
}

int users_hash(struct slice password, char *ret_hash, size_t size, struct err *e)
{
    if (password.n == 0 || password.n >= CRYPT_MAX_PASSPHRASE_SIZE)
        return err_set(e, -EINVAL, "a password has 1 to %d characters",
                       CRYPT_MAX_PASSPHRASE_SIZE - 1);
    for (size_t i = 0; i < password.n; i++)
        if (password.p[i] < ' ' || password.p[i] == 127)
            return err_set(e, -EINVAL, "a password holds no control characters");
    uint8_t salt_bytes[16];
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    rand_bytes(salt_bytes, sizeof salt_bytes);
    if (!crypt_gensalt_rn(METHOD, 0, (const char *)salt_bytes, sizeof salt_bytes, salt,
                          sizeof salt))
        return err_errno(e, "cannot make a salt");
    DEFER_FREE struct crypt_data *work = must_alloc(sizeof *work);
    DEFER_FREE char *text = slice_dup(password);
    const char *hash = crypt_r(text, salt, work);
    explicit_bzero(text, password.n);
    if (!hash || hash[0] == '*')
        return err_errno(e, "cannot hash the password");
    if (strlen(hash) >= size)
        return err_set(e, -ENOSPC, "the hash is too long");
    memcpy(ret_hash, hash, strlen(hash) + 1);
    explicit_bzero(work, sizeof *work);
    return 0;
}
