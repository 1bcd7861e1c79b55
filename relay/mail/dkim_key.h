/*
 * A private key that signs mail, and the record that its public half is published in (RFC 6376
 * section 3.6.1; Ed25519: RFC 8463). Crypto is OpenSSL's. In: PEM text; a key of any other kind or
 * of a size that verifiers must not accept, or need not (RFC 8301 section 3.2), is none. Frozen:
 * any thread may sign with it.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/err.h"

#define DKIM_RSA_BITS_MIN 1024 /* below it a signature counts for nothing */
#define DKIM_RSA_BITS_GOOD 2048
#define DKIM_RSA_BITS_MAX 4096 /* above it verifiers need not look */
#define DKIM_HASH_SIZE 32      /* SHA-256 */
#define DKIM_KEY_PEM_MAX 16384
#define DKIM_RECORD_MAX 1024

enum dkim_kind { DKIM_RSA, DKIM_ED25519 };

struct dkim_key;
/* -EINVAL: e says what is wrong with the text, in words that go behind the name of a file. */
int dkim_key_read(struct dkim_key **ret, struct slice pem, struct err *e);
void dkim_key_free(struct dkim_key *k); /* NULL is fine */
enum dkim_kind dkim_key_kind(const struct dkim_key *k);
const char *dkim_key_name(const struct dkim_key *k); /* "rsa", "ed25519": as k= and a= say */
unsigned dkim_key_bits(const struct dkim_key *k);
/* Octets of a signature: the same for every one of this key. */
size_t dkim_key_signature_size(const struct dkim_key *k);
void dkim_key_sign(const struct dkim_key *k, const uint8_t hash[DKIM_HASH_SIZE], struct buf *out);
/* "v=DKIM1; k=…; p=…", at most DKIM_RECORD_MAX octets. */
void dkim_key_record(const struct dkim_key *k, struct buf *out);
/* Whether a published record is this key's: tags in any order, blanks anywhere, others passed over
 * (RFC 6376 section 3.6.1). NULL, or what is wrong with it. */
const char *dkim_key_differs(const struct dkim_key *k, struct slice record);
/* A new one, as PKCS 8 PEM; bits: of RSA. */
int dkim_key_make(enum dkim_kind kind, unsigned bits, struct buf *ret_pem, struct err *e);
