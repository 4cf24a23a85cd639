"""The options for an authority below a root, and the passphrase that the root's key is put away under."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from pki.authority_files import check_passphrase, read_passphrase
from pki.options import path_of
from pki.presentation import say

if TYPE_CHECKING:
    from collections.abc import Callable

IntermediateOption = Annotated[
    bool, typer.Option("--intermediate", help="A root, and the authority below it; the root's key goes offline.")
]
RootPassphraseOption = Annotated[
    str | None,
    typer.Option(
        "--root-passphrase-file",
        metavar="FILE",
        help="Passphrase of the root's key; or set HANDCLASP_ROOT_PASSPHRASE. Without: one is made, and shown once.",
    ),
]


def root_passphrase(file: str | None, *, tell: Callable[[str], None] = say) -> bytes:
    """The passphrase that was given; or a new one, which is shown here and nowhere else."""
    if file is not None:
        return read_passphrase(path_of(file, "--root-passphrase-file"))
    given = os.environb.get(b"HANDCLASP_ROOT_PASSPHRASE")
    if given is not None:
        return check_passphrase(given)
    made = secrets.token_urlsafe(24)
    tell(f"the root key's passphrase, shown this once: {made}")
    return made.encode()
