"""Revocation fails closed: without the list that is required, or with one that is stale, nobody is let in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.trust import trusting

if TYPE_CHECKING:
    from pathlib import Path


def test_a_required_list_that_is_missing_lets_nobody_in(tmp_path: Path) -> None:
    """`--crl require`: refused until there is one; then let in."""
    with trusting(tmp_path, "--crl", "require") as there:
        liam = there.client("liam")
        assert "unknown" in liam.refusal().lower()
        there.audited("handshake.refused")
        assert "handclasp-pki crl" in there.server.logged("one is required: nobody is let in")[0]
        after = there.server.log_end()
        there.put("ca.crl", there.issuer.revocation_list())
        there.taken_up(after)
        assert liam.refusal() == "let in"


def test_a_list_that_becomes_stale_lets_nobody_in(tmp_path: Path) -> None:
    """Fail closed: refused and cut when its nextUpdate has passed; the log has warned, and says how to mend it."""
    with trusting(tmp_path) as there:
        mary = there.client("mary")
        there.put("ca.crl", there.issuer.revocation_list(number=1, stale=timedelta(seconds=4)))
        there.taken_up(0)
        with mary.h2() as wire:
            assert wire.get().status == 200
            assert "handclasp-pki crl" in there.server.logged("becomes stale", 0)[0]
            wire.ending()
        assert mary.refusal() != "let in"
        after = there.server.log_end()
        there.put("ca.crl", there.issuer.revocation_list(number=2))
        there.taken_up(after)
        assert mary.refusal() == "let in"


@pytest.mark.parametrize(("hours", "warned"), [(23, True), (26, False)])
def test_a_day_before_it_is_said(tmp_path: Path, hours: int, warned: bool) -> None:
    """Of a list that lives for a week; once, not at each look."""
    with trusting(tmp_path) as there:
        there.put("ca.crl", there.issuer.revocation_list(signed=timedelta(days=-6), stale=timedelta(hours=hours)))
        there.taken_up(0)
        if warned:
            assert "nobody of its authority is let in from then on" in there.server.logged("becomes stale")[0]
        after = there.server.log_end()
        there.put("ca.crl", there.issuer.revocation_list(number=2, signed=timedelta(-6), stale=timedelta(hours=hours)))
        there.taken_up(after)
        assert there.server.log().count("becomes stale") == int(warned)
