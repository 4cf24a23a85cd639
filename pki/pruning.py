"""Forgetting certificates that have ended: what keeps an inventory small.

What is still in its folder stays known: no certificate is on the disk that the inventory does not know. A name of
which nothing is left is forgotten with its last certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pki.credential import is_occupied

if TYPE_CHECKING:
    from datetime import datetime

    from pki.open_state import OpenState


def prunable(here: OpenState, before: datetime) -> int:
    """How many `prune` would forget now."""
    kept = _in_folders(here, before)
    with here.inventory.reading() as work:
        return sum(row.serial not in kept for row in work.certificates.ended(before))


def prune(here: OpenState, before: datetime) -> int:
    """Forget those that ended before then; how many they were. See `pki.lifecycle.Lifecycle.prune`."""
    kept = _in_folders(here, before)
    with here.inventory.transaction() as work:
        pruned = work.certificates.prune(before, keep=kept)
        work.names.remove_bare()
        return pruned


def _in_folders(here: OpenState, before: datetime) -> set[str]:
    """The serial numbers of latest certificates that ended before then and whose folders are still there."""
    with here.inventory.reading() as work:
        ended = [(name, row) for name, row in work.certificates.latest() if row.not_after < before]
    return {row.serial for name, row in ended if is_occupied(here.state.path(name.folder))}
