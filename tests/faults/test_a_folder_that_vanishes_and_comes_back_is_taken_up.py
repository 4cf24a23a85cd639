"""The credential folder may go for a while: the server goes on with what it has."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.trust import Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("vanishes")) as made:
        made.put("ca.crl", made.issuer.revocation_list(number=1_000))
        made.server.logged(" reloaded")
        yield made


def test_the_folder_vanishes_and_comes_back(there: Trusting) -> None:
    """Renamed away and back, the server goes on serving; what changed meanwhile is taken up."""
    kate = there.client("kate")
    after = there.server.log_end()
    away = there.folder / "away"
    there.credential.rename(away)
    there.server.logged("reload refused", after)
    with kate.h1() as line:
        assert line.get().status == 200
    there.issue_server().save(there.folder / "new")
    shutil.copy(away / "ca.crl", there.folder / "new" / "ca.crl")
    (there.folder / "new").rename(there.credential)
    there.taken_up(after)
    with kate.h1() as line:
        assert line.get().status == 200
