"""Sets of serial numbers, and lists that are read in a process of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki import crl_apart
from pki.crl import read_lists
from pki.crl_apart import read_lists_apart
from pki.crl_signing import Entry, Reason, sign_list, to_pem
from pki.errors import TrustError
from pki.keys import KeyType
from pki.lifecycle import Lifecycle
from pki.pem import parse_certificates
from pki.serials import SerialSet
from pki.state import State

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

_SERIALS = st.integers(min_value=0, max_value=2**168)


@given(st.sets(_SERIALS, max_size=60), _SERIALS)
def test_a_set_holds_what_was_put_in_and_nothing_else(numbers: set[int], other: int) -> None:
    """As a frozenset would, for numbers of every width."""
    found = SerialSet.of(numbers)
    assert len(found) == len(numbers)
    assert all(number in found for number in numbers)
    assert (other in found) == (other in numbers)
    assert all((number + 1 in found) == (number + 1 in numbers) for number in numbers)


def test_what_is_no_serial_number_is_in_no_set() -> None:
    """Nor is a negative one put in."""
    assert -1 not in SerialSet.of([1])
    assert "1" not in SerialSet.of([1])
    assert 0 not in SerialSet()
    with pytest.raises(ValueError, match="negative"):
        SerialSet.of([-1])


@pytest.fixture(name="authority")
def signed_by(tmp_path: Path) -> tuple[x509.Certificate, Lifecycle]:
    """An authority, and what signs its lists."""
    lifecycle = Lifecycle(State(tmp_path / "state"))
    lifecycle.init("A CA", key=KeyType.P256, now=datetime.now(UTC))
    (certificate,) = parse_certificates((tmp_path / "state/authority/ca.crt").read_bytes())
    return certificate, lifecycle


def a_list(lifecycle: Lifecycle, count: int) -> bytes:
    """A list of so many entries."""
    now = datetime.now(UTC).replace(microsecond=0)
    entries = [Entry(1 << 158 | number, now, Reason.SUPERSEDED) for number in range(count)]
    signer = lifecycle.signer().authority
    return to_pem(sign_list(signer, entries, number=7, this_update=now, next_update=now + timedelta(days=1)))


def test_a_long_list_is_read_apart_as_a_short_one_is_here(authority: tuple[x509.Certificate, Lifecycle]) -> None:
    """Two lists in one file, beyond what is read at once: the same lists come back."""
    certificate, lifecycle = authority
    data = a_list(lifecycle, 3_000) + a_list(lifecycle, 1)
    assert len(data) > crl_apart._SHORT
    assert read_lists_apart(data, [certificate]) == read_lists(data, [certificate])


def test_a_long_list_that_is_not_sound_is_refused(
    authority: tuple[x509.Certificate, Lifecycle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same words as a short one; and so is one whose reader fails, whatever the reason."""
    certificate, lifecycle = authority
    other = Lifecycle(State(tmp_path / "other"))
    other.init("A CA", key=KeyType.P256, now=datetime.now(UTC))
    data = a_list(other, 3_000)
    with pytest.raises(TrustError, match="signed by no authority of the bundle"):
        read_lists_apart(data, [certificate])
    with pytest.raises(TrustError, match="cannot be used"):
        read_lists_apart(data[:1000] + b"!" + data[1000:], [certificate])
    monkeypatch.setattr(crl_apart, "_CODE", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(TrustError, match="its reader ended with -9"):
        read_lists_apart(a_list(lifecycle, 3_000), [certificate])
    monkeypatch.setattr(crl_apart.sys, "executable", "/nonexistent")
    with pytest.raises(TrustError, match="cannot be read"):
        read_lists_apart(a_list(lifecycle, 3_000), [certificate])
