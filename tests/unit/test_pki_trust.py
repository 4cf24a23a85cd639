"""A trust bundle is never empty, and holds authorities alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pki.authority import CertificateAuthority
from pki.errors import TrustError
from pki.keys import KeyType
from pki.names import Names
from pki.pem import to_pem
from pki.profiles import ClientProfile
from pki.trust import TrustBundle
from tests.support.issuer import Issuer

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ONE, TWO = (CertificateAuthority.create(name, KeyType.P256.generate(), now=NOW) for name in ("One", "Two"))
LEAF = ONE.issue(ClientProfile(), Names.parse("a", emails=["a@x.io"]), KeyType.P256.generate().public_key(), now=NOW)


def test_a_bundle_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """Order kept, duplicates dropped, from bytes and from a file."""
    bundle = TrustBundle((TWO.certificate, ONE.certificate, TWO.certificate))
    assert len(bundle) == 2
    assert list(bundle) == [TWO.certificate, ONE.certificate]
    assert TrustBundle.parse(bundle.to_pem()) == bundle
    path = tmp_path / "ca.crt"
    path.write_bytes(bundle.to_pem() + bundle.to_pem())
    assert TrustBundle.load(path) == bundle


def test_adding_and_without_leave_the_bundle_alone() -> None:
    """They give new bundles; the last authority cannot be taken away."""
    one = TrustBundle((ONE.certificate,))
    both = one.adding(TWO.certificate)
    assert TWO.certificate in both
    assert TWO.certificate not in one
    assert both.adding(ONE.certificate) == both
    assert both.without(TWO.certificate) == one
    assert one.without(TWO.certificate) == one
    with pytest.raises(TrustError, match="at least one"):
        one.without(ONE.certificate)


GOOD = to_pem((ONE.certificate,))


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "no PEM certificate"),
        (b"\0\xff garbage", "no PEM certificate"),
        (GOOD + GOOD[: len(GOOD) // 2], "cut short"),
        (GOOD.replace(b"MII", b"M!!", 1), "damaged"),
        (GOOD + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (GOOD.replace(b" CERT", b" TRUSTED CERT"), "openssl x509"),
        (GOOD + to_pem((LEAF,)), "is no authority"),
    ],
)
def test_what_is_no_bundle_is_refused(pem: bytes, reason: str, tmp_path: Path) -> None:
    """Empty, garbage, cut short after a whole certificate, or with a leaf in it; the file is named."""
    path = tmp_path / "ca.crt"
    path.write_bytes(pem)
    with pytest.raises(TrustError, match=reason) as caught:
        TrustBundle.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == path


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    """No file, or a folder in its place: never an empty bundle."""
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(TrustError, match="cannot be read"):
            TrustBundle.load(path)
    with pytest.raises(TrustError):
        TrustBundle(())


def test_whose_chains_lead_to_it() -> None:
    """By signatures, not by names; by way of what is in the chain; an anchor vouches for itself."""
    root, other = Issuer("Root"), Issuer("Other")
    between = root.below("Between")
    leaf, stranger = between.issue().certificate, Issuer("Between").issue().certificate
    bundle = TrustBundle((root.certificate,))
    assert bundle.vouches_for((leaf, between.certificate))
    assert bundle.vouches_for((leaf, other.certificate, between.certificate))
    assert TrustBundle((between.certificate,)).vouches_for((leaf,))
    assert bundle.vouches_for((root.certificate,))
    assert not bundle.vouches_for((leaf,))
    assert not bundle.vouches_for((stranger, between.certificate))
    assert not bundle.vouches_for((leaf, leaf, leaf))
    assert not TrustBundle((other.certificate,)).vouches_for((leaf, between.certificate, root.certificate))
