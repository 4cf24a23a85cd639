"""Long revocation lists are read in a process of their own: OpenSSL and the interpreter hold the lock of the process
for tenths of a second over a hundred thousand entries, and a server would stand still meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pki.crl import RevocationList, parse_issuers, read_lists
from pki.errors import TrustError
from pki.pem import to_pem
from pki.serials import SerialSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

_SHORT = 128 * 1024
"""Octets of a file that is read at once, in a few milliseconds: some two thousand entries."""

_PATIENCE = 120.0
"""Seconds that reading may take. Ten million entries take less."""

# The interpreter is isolated, and finds modules where this process does: not in the folder that it happens to run in.
_CODE = "import sys; sys.path[:] = {path!r}; from pki.crl_apart import main; sys.exit(main())"


def read_lists_apart(data: bytes, authorities: Sequence[x509.Certificate]) -> tuple[RevocationList, ...]:
    """`pki.crl.read_lists`, in another process where the file is long. Not for an event loop: it waits.

    Raises TrustError for a list that none of the authorities has signed, or that cannot be read.
    """
    if len(data) <= _SHORT or not sys.executable:
        try:
            return read_lists(data, authorities)
        except ValueError as error:
            raise TrustError(f"the revocation list cannot be used: {error}") from error
    signers = to_pem(authorities)
    command = [sys.executable, "-I", "-c", _CODE.format(path=sys.path)]
    try:
        done = subprocess.run(  # noqa: S603  (this interpreter, and nothing of what is read)
            command, input=b"%d\n" % len(signers) + signers + data, capture_output=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrustError(f"the revocation list cannot be read: {error}") from error
    if done.returncode == _REFUSED:
        raise TrustError(done.stdout.decode("utf-8", "replace"))
    if done.returncode:
        raise TrustError(f"the revocation list cannot be read: its reader ended with {done.returncode}")
    return _unpacked(done.stdout)


_REFUSED = 3


def main() -> int:
    """What the other process does: signers and lists on standard input, what was read on standard output."""
    size = int(sys.stdin.buffer.readline())
    authorities = parse_issuers(sys.stdin.buffer.read(size))
    try:
        found = read_lists(sys.stdin.buffer.read(), authorities)
    except TrustError as error:
        sys.stdout.write(str(error))
        return _REFUSED
    except ValueError as error:
        sys.stdout.write(f"the revocation list cannot be used: {error}")
        return _REFUSED
    sys.stdout.buffer.write(_packed(found))
    return 0


def _packed(lists: Sequence[RevocationList]) -> bytes:
    """One line that says what follows, and the blocks of serial numbers behind each other."""
    heads = [
        {
            "issuer": found.issuer,
            "signer": found.signer.hex(),
            "number": str(found.number),  # up to 160 bits
            "this_update": found.this_update.timestamp(),
            "next_update": found.next_update.timestamp(),
            "width": found.serials.width,
            "size": len(found.serials.block),
        }
        for found in lists
    ]
    return b"\n".join((json.dumps(heads).encode("ascii"), b"".join(found.serials.block for found in lists)))


def _unpacked(packed: bytes) -> tuple[RevocationList, ...]:
    end = packed.index(b"\n")
    at, lists = end + 1, []
    for head in json.loads(packed[:end]):
        lists.append(
            RevocationList(
                head["issuer"],
                bytes.fromhex(head["signer"]),
                int(head["number"]),
                datetime.fromtimestamp(head["this_update"], UTC),
                datetime.fromtimestamp(head["next_update"], UTC),
                SerialSet(packed[at : at + head["size"]], head["width"]),
            )
        )
        at += head["size"]
    return tuple(lists)
