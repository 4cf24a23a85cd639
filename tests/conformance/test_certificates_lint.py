"""The certificates of every profile and key type pass pkilint's RFC 5280 lint, and OpenSSL's strict verification."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader
from pkilint.pkix import certificate as pkix
from pkilint.pkix.extension import EXTENSION_MAPPINGS
from pkilint.pkix.name import ATTRIBUTE_TYPE_MAPPINGS
from pkilint.validation import ValidationFindingSeverity

from pki.authority import CertificateAuthority, self_signed
from pki.keys import KeyType
from pki.names import Names
from pki.pem import to_pem
from pki.profiles import LEAF_PROFILES

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from pki.pem import PrivateKey

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAMES = Names.parse(
    "somebody@example.com",
    emails=["Alice.B+tag@example.com", "alice@bücher.example"],
    uris=["https://example.com/alice"],
    dns_names=["alice.example.com", "bücher.example"],
    ip_addresses=["192.0.2.1", "2001:db8::1"],
)


@cache
def key_of(key_type: KeyType) -> PrivateKey:
    return key_type.generate()


@cache
def linter() -> object:
    """What the command `lint_pkix_cert lint` runs."""
    return pkix.create_pkix_certificate_validator_container(
        pkix.create_decoding_validators(ATTRIBUTE_TYPE_MAPPINGS, EXTENSION_MAPPINGS),
        [
            pkix.create_issuer_validator_container([]),
            pkix.create_validity_validator_container(),
            pkix.create_subject_validator_container([]),
            pkix.create_extensions_validator_container([]),
            pkix.create_spki_validator_container([]),
        ],
    )


def findings(certificate: x509.Certificate) -> list[tuple[str, str]]:
    """Code and message of every finding that is an error or worse."""
    document = loader.RFC5280CertificateDocumentLoader().load_der_document(certificate.public_bytes(Encoding.DER))
    return [
        (found.finding.code, found.message or "")
        for result in linter().validate(document.root)
        for found in result.finding_descriptions
        if found.finding.severity <= ValidationFindingSeverity.ERROR
    ]


@pytest.fixture
def openssl() -> str:
    """The openssl command; where it is missing the test is skipped, or fails if HANDCLASP_REQUIRE names it."""
    if path := shutil.which("openssl"):
        return path
    if "openssl" in os.environ.get("HANDCLASP_REQUIRE", "").split(","):
        pytest.fail("openssl is required and not installed")
    pytest.skip("openssl is not installed")


@pytest.mark.parametrize("key_type", list(KeyType))
def test_every_profile_with_every_key_type(key_type: KeyType) -> None:
    """The authority, each of its leaves, and the self-signed one: no finding of severity error or above."""
    key = key_of(key_type)
    authority = CertificateAuthority.create("Größe & Söhne CA", key, now=NOW)
    assert findings(authority.certificate) == []
    for profile in LEAF_PROFILES.values():
        assert findings(authority.issue(profile, NAMES, key.public_key(), now=NOW)) == []
    assert findings(self_signed(NAMES, key, now=NOW)) == []


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (Names.parse("x", uris=["spiffe://example.org/ns/a"]), "pkix.invalid_uri_syntax"),
        (Names.parse("x", dns_names=["localhost"]), "pkix.invalid_domain_name_syntax"),
        (Names.parse("x", dns_names=["*.example.com"]), "pkix.invalid_domain_name_syntax"),
    ],
)
def test_what_the_linter_takes_for_an_error_and_is_none(names: Names, code: str) -> None:
    """SPIFFE IDs, host names of one label, wildcards: the linter's syntax library knows only the public web's names.

    RFC 5280 4.2.1.6 asks for an absolute URI and the preferred name syntax, which these are (and it leaves wildcards
    to applications). Pinned: this one finding about the name, nothing else.
    """
    profile = LEAF_PROFILES["client" if names.uris else "server"]
    authority = CertificateAuthority.create("CA", key_of(KeyType.P256), now=NOW)
    certificate = authority.issue(profile, names, key_of(KeyType.P256).public_key(), now=NOW)
    ((found, message),) = findings(certificate)
    assert found == code
    assert (*names.uris, *names.dns_names)[0] in message


def test_the_linter_would_notice() -> None:
    """A certificate without the extensions that a CA needs has findings: the silence above means something."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key = key_of(KeyType.P256)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
    bare = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW)
    made = bare.add_extension(x509.BasicConstraints(True, None), critical=False).sign(key, hashes.SHA256())
    assert findings(made)


# The command may be older than ML-DSA (OpenSSL 3.5): tests/pki/test_ml_dsa.py has the server's own OpenSSL verify it.
@pytest.mark.parametrize("key_type", [key for key in KeyType if not key.experimental])
def test_openssl_verifies_every_profile(key_type: KeyType, tmp_path: Path, openssl: str) -> None:
    """Strictly, for its purpose, and not for the other one: leaves of an authority, and the self-signed one."""
    key = key_of(key_type)
    authority = CertificateAuthority.create("Strict", key, now=NOW)
    made = {"authority": authority.certificate, "self-signed": self_signed(NAMES, key, now=NOW)} | {
        label: authority.issue(profile, NAMES, key.public_key(), now=NOW) for label, profile in LEAF_PROFILES.items()
    }
    for name, certificate in made.items():
        (tmp_path / name).write_bytes(to_pem((certificate,)))

    def verifies(name: str, purpose: str) -> bool:
        anchor = tmp_path / (name if name == "self-signed" else "authority")
        when = str(int(NOW.timestamp()))
        command = [openssl, "verify", "-x509_strict", "-attime", when, "-purpose", purpose, "-CAfile", anchor]
        return subprocess.run([*command, tmp_path / name], capture_output=True, check=False).returncode == 0

    verdicts = {
        name: [purpose for purpose in ("sslserver", "sslclient") if verifies(name, purpose)]
        for name in ("server", "client", "peer", "self-signed")
    }
    assert verdicts == {
        "server": ["sslserver"],
        "client": ["sslclient"],
        "peer": ["sslserver", "sslclient"],
        "self-signed": ["sslserver", "sslclient"],
    }
