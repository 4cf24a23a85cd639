"""The greeting, without a web framework around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pki.identity import Identity

DEFAULT_GREETING = "Hello"
MAX_GREETING = 100
"""Characters: a greeting, not a letter."""


class InvalidGreetingError(ValueError):
    """The greeting is empty, too long or not printable."""


def greet(identity: Identity, greeting: str = DEFAULT_GREETING) -> str:
    """Greet the caller: `Hello alice@example.com!`.

    Raises:
        InvalidGreetingError: the greeting is not 1 to 100 printable characters.
    """
    if not 0 < len(greeting) <= MAX_GREETING or not greeting.isprintable():
        raise InvalidGreetingError(f"a greeting has 1 to {MAX_GREETING} printable characters")
    return f"{greeting} {identity.name}!"
