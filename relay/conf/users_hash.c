/* Passwords by libxcrypt: our own hashes are yescrypt, any other that crypt(3) knows is verified
 * too. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/conf/users_private.h"
#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>

#define METHOD "$y$"

/* Of nobody's password: what a user who does not exist is compared with, so that guessing names
 * tells nothing by its time. */
static const char nobody[] =
    "$y$j9T$JqTmCyEJVxITszOs4hnLL.$gGXuxBfRCM0ewaLsYF.mMIWW2TCvfX.HmDdlM5n.Dn3";

static bool same(const char *a, const char *b)
{
    const size_t n = strlen(a);
    return strlen(b) == n && CRYPTO_memcmp(a, b, n) == 0;
}

bool users_verify(const struct user *u, struct slice password)
{
    const char *hash = u ? u->hash : nobody;
    DEFER_FREE struct crypt_data *work = must_alloc(sizeof *work);
    bool usable = user_has_password(u) && slice_find(password, 0) == password.n &&
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

static int check(struct slice password, struct err *e)
{
    if (password.n == 0 || password.n >= CRYPT_MAX_PASSPHRASE_SIZE)
        return err_set(e, -EINVAL, "a password has 1 to %d characters",
                       CRYPT_MAX_PASSPHRASE_SIZE - 1);
    for (size_t i = 0; i < password.n; i++)
        if (password.p[i] < ' ' || password.p[i] == 127)
            return err_set(e, -EINVAL, "a password holds no control characters");
    return 0;
}

int users_hash(struct slice password, struct user_secrets *ret, struct err *e)
{
    uint8_t salt_bytes[16];
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    int rc = check(password, e);
    if (rc < 0)
        return rc;
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
    MUST(strlen(hash) < sizeof ret->hash);
    memcpy(ret->hash, hash, strlen(hash) + 1);
    explicit_bzero(work, sizeof *work);
    scram_make(password, ret->hash, ret->scram, sizeof ret->scram);
    return 0;
}
