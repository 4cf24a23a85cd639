"""What leaves a state folder for another program: a credential, or the anchors that it trusts, each as one new file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pki.credential import load_folder
from pki.errors import AlreadyExists, StateError
from pki.files import sync_folder, write_new
from pki.listing import standing_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from pki.credential import Credential
    from pki.listing import Standing
    from pki.open_state import OpenState
    from pki.trust import TrustBundle


def credential_of(here: OpenState, name: str, *, now: datetime) -> tuple[Credential, TrustBundle, Standing | None]:
    """What is in the folder of a name, and how the name's latest certificate stands; None of one that was forgotten.

    Raises NotFound for a name that was never issued, AlreadyExists where its folder holds another's credential, and
    what `load_folder` does.
    """
    ((record, row),) = here.names([name])
    here.check_holder(record)
    credential, trust = load_folder(here.state.path(record.folder))
    trusted = {authority.sha256 for authority in here.trusted()}
    return credential, trust, standing_of(row, trusted, now) if row else None


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Create the file, and see it onto the disk. Raises AlreadyExists, StateError."""
    try:
        write_new(path, data, mode)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise AlreadyExists(f"{path} is there already: remove it, or pass another --out", path=path) from error
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}", path=path) from error
