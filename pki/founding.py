"""A new authority: what it shall be, and its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pki.authority import CertificateAuthority
from pki.authority_files import RootKey, save_authority
from pki.inventory.rows import AuthorityRow
from pki.rotation import AuthorityState

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from pki.keys import KeyType
    from pki.open_state import OpenState


@dataclass(frozen=True, slots=True)
class Wish:
    """What an authority shall be. With a `root_passphrase` it stands below a root, whose key is put away under it."""

    name: str
    key: KeyType
    lifetime: timedelta
    root_passphrase: bytes | None = field(default=None, repr=False)


def found(
    here: OpenState, wish: Wish, now: datetime, state: AuthorityState
) -> tuple[CertificateAuthority, AuthorityRow]:
    """Make an authority and its folder. Its row is for the caller to add: without one it is as if it were not there."""
    root: RootKey | None = None
    if wish.root_passphrase is None:
        made = CertificateAuthority.create(wish.name, wish.key.generate(), now=now, lifetime=wish.lifetime)
    else:
        root = RootKey(wish.key.generate(), wish.root_passphrase)
        made = CertificateAuthority.create_below_root(
            wish.name, root.key, wish.key.generate(), now=now, lifetime=wish.lifetime
        )
    folder = here.state.free_authority_folder()
    save_authority(made, here.state.path(folder), here.passphrase, root)
    row = AuthorityRow.of(
        made.certificate,
        folder=folder,
        state=state,
        activated_at=now if state is AuthorityState.ACTIVE else None,
        anchor=made.anchor,
    )
    return made, row
