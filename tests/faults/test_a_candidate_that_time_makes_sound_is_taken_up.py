"""What is refused because it is of the future is tried again by itself; the refusal is said once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.support.issuer import SERVER
from tests.support.server import ROOT, eventually
from tests.support.trust import LOCALHOST, trusting

if TYPE_CHECKING:
    from pathlib import Path

IMPATIENT = "import services.transport.source as source\nsource.AGAIN = 0.2\n"


def test_a_certificate_of_the_future(tmp_path: Path) -> None:
    """The one before goes on serving until then; nobody has to touch the folder."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path/sitecustomize.py").write_text(IMPATIENT)
    with trusting(tmp_path, PYTHONPATH=f"{tmp_path / 'path'}:{ROOT}") as there:
        client = there.client("ann")
        with client.h1() as line:
            before = line.sock.getpeercert(binary_form=True)
        soon = there.issuer.issue("localhost", san=LOCALHOST, purposes=(SERVER,), valid_from=timedelta(seconds=4))
        there.put_pair(soon)
        assert "is not valid before" in there.server.logged("reload refused")[0]
        with client.h1() as line:
            assert line.sock.getpeercert(binary_form=True) == before

        def taken_up() -> bool:
            with client.h1() as line:
                return line.sock.getpeercert(binary_form=True) != before

        eventually(taken_up, 15)
        assert len(there.audited("reload.refused")) == 1
