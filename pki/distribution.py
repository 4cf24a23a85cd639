"""Trust in every credential folder: the bundle, and the revocation lists beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pki.credential import is_occupied, save_trust
from pki.errors import PKIError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pki.open_state import OpenState


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many folders were given other files, and which could not be."""

    changed: int
    failed: tuple[tuple[Path, PKIError], ...] = ()

    def check(self) -> None:
        """Raise StateError, which names the folders that were left behind, where there are any."""
        if self.failed:
            (folder, first), *others = self.failed
            more = f", and {len(others)} more" if others else ""
            raise StateError(
                f"{folder} was left as it is{more}: {first}; what was decided stands, so mend that and run "
                "`handclasp-pki crl`"
            )


def distribute(here: OpenState, advance: Callable[[int], None] = lambda _: None) -> Distribution:
    """Give every credential folder of this state the present bundle and lists. One that fails keeps no other back."""
    bundle, lists = here.trust().to_pem(), here.state.lists()
    changed, failed = 0, []
    for name, _ in here.names(None):
        folder = here.state.path(name.folder)
        try:
            if is_occupied(folder):
                changed += save_trust(folder, bundle, lists)
        except PKIError as error:
            failed.append((folder, error))
        advance(1)
    return Distribution(changed, tuple(failed))
