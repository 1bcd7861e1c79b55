"""Keys for signing, and two verifiers that nobody here wrote: dkimpy and Mail::DKIM. Their name server is a dict."""
import base64
import os
import re
import subprocess

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

PERL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "verify_dkim.pl")
_made = {}  # an RSA key takes a while


def new_key(kind, size):
    return rsa.generate_private_key(public_exponent=65537, key_size=size) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()


class Keys:
    """Files below `folder`, and what the domains would have published."""

    def __init__(self, folder):
        self.folder, self.records = folder, {}
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, domain, selector, kind, size=2048):
        """The path of a new key file."""
        key = _made.setdefault((domain, selector, kind, size), None) or new_key(kind, size)
        _made[domain, selector, kind, size] = key
        path = self.folder / f"{domain}.{selector}.pem"
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        path.chmod(0o600)
        raw = (serialization.Encoding.Raw, serialization.PublicFormat.Raw) if kind == "ed25519" else \
            (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        public = base64.b64encode(key.public_key().public_bytes(*raw)).decode()
        self.records[f"{selector}._domainkey.{domain}"] = f"v=DKIM1; k={kind}; p={public}"
        return path

    def section(self, domain, extra="", **kinds):
        """A section that has a key for each selector=kind."""
        paths = [self.make(domain, selector, kind) for selector, kind in kinds.items()]
        quoted = [", ".join(f'"{x}"' for x in items) for items in (kinds, paths)]
        return f'dkim "{domain}" {{ selector = {{ {quoted[0]} }}  key = {{ {quoted[1]} }}  {extra} }}\n'

    # --- verifiers

    def _txt(self, name, timeout=5):
        return self.records.get(name.decode().rstrip("."), "").encode() or None

    def verify(self, raw):
        """dkimpy's word: {(domain, selector): whether it holds} of all signatures."""
        d = dkim.DKIM(raw, minkey=1024)
        found = {}
        for i in range(len(signatures(raw))):
            try:
                good = d.verify(idx=i, dnsfunc=self._txt)
            except dkim.DKIMException:
                good = False
            found[d.domain.decode(), d.selector.decode()] = good
        return found

    def verify_perl(self, raw):
        """Mail::DKIM's, of RSA signatures only."""
        p = subprocess.run([PERL, *(f"{k}={v}" for k, v in self.records.items())], input=raw, capture_output=True, check=True)
        rows = (line.split() for line in p.stdout.decode().splitlines())
        return {(domain, selector): result == "pass" for domain, selector, result in rows}


def signatures(raw):
    """The DKIM-Signature fields as they stand."""
    head = raw.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0] + b"\n"
    return [m.group(0).decode() for m in re.finditer(rb"(?im)^dkim-signature:.*\n([ \t].*\n)*", head)]


def tags(field):
    text = re.sub(r"\s+", "", field.split(":", 1)[1])
    return dict(tag.split("=", 1) for tag in text.split(";") if tag)
