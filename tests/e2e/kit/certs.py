"""Certificates as a test needs them: an authority, and what it issues for names, by kind of key and with any dates."""
import collections
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Files = collections.namedtuple("Files", "pem key")


class Authority:
    def __init__(self, folder, name="Test Authority"):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = self._sign(self.name, self.key.public_key(), days=3650,
                               extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)])
        self.pem = folder / f"{name.replace(' ', '-')}.pem"
        self.pem.write_bytes(_pem(self.cert))

    def _sign(self, subject, public_key, days, extensions, begins=-1):
        now = datetime.datetime.utcnow()
        b = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
             .serial_number(x509.random_serial_number())
             .not_valid_before(now + datetime.timedelta(days=min(begins, days - 1)))
             .not_valid_after(now + datetime.timedelta(days=days)))
        for extension, critical in extensions:
            b = b.add_extension(extension, critical)
        return b.sign(self.key, hashes.SHA256())

    def issue(self, stem, *names, kind="ec", days=90, begins=-1):
        """STEM.pem and STEM.key; days < 0: it has expired. Written beside and renamed, as a good renewal is."""
        key = (ec.generate_private_key(ec.SECP256R1()) if kind == "ec"
               else rsa.generate_private_key(public_exponent=65537, key_size=2048))
        alternatives = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)])
        cert = self._sign(subject, key.public_key(), days, [(x509.SubjectAlternativeName(alternatives), False)], begins)
        files = Files(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for path, data in ((files.key, private), (files.pem, _pem(cert) + _pem(self.cert))):
            fresh = path.with_suffix(".fresh")
            fresh.write_bytes(data)
            fresh.chmod(0o600)
            fresh.rename(path)
        return files


def _pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def common_name(der):
    """Of a certificate as a connection gives it."""
    return x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
