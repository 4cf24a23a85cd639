"""The authority of Handclasp, and what both sides of a handshake read of certificates.

Two halves: `errors`, `identity`, `trust` and `credential` are for those who rely on certificates and need
`cryptography` alone; the rest issues them.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # Looking a version up reads the installation's metadata: only for those who ask.
    if name == "__version__":
        from importlib.metadata import version

        return version("handclasp")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
