"""`module:attribute` -> the application it names."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.transport.engine import ASGIWrapper, is_asgi
from services.transport.wsgi import MAX_BODY, WSGI

if TYPE_CHECKING:
    from services.authorization.gate import Engine
    from services.transport.engine import AppWrapper


class AppNotFoundError(Exception):
    """The name leads to no application; the message says at which step."""

    exit_code = 2


def load_app(name: str) -> AppWrapper:
    """Import the ASGI (or WSGI) application that `module:attribute` names; the working folder is importable.

    Raises:
        AppNotFoundError: no such module or attribute, or it is no application. What the module itself raises while it
            is imported passes through: its traceback is the programmer's to read.
    """
    found = _found(name, "application", "shop.web:app")
    if "quart" in sys.modules:  # else it is no Quart application, and Quart need not be read
        from quart import Quart

        from services.quart_connection import make_lean

        if isinstance(found, Quart):
            make_lean(found)
    return wrap_app(found)


def wrap_app(app: Any) -> AppWrapper:
    """An ASGI or WSGI application, whichever it is, as the transport calls it."""
    return ASGIWrapper(app) if is_asgi(app) else WSGI(app, MAX_BODY)


def load_engine(name: str) -> Engine:
    """Import the function that decides who may do what. Raises AppNotFoundError, as `load_app` does."""
    engine: Engine = _found(name, "authorizer", "shop.rules:may")
    return engine


def _found(name: str, what: str, example: str) -> Any:
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise AppNotFoundError(f"'{name}' names no {what}: write MODULE:ATTRIBUTE, for example {example}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        raise AppNotFoundError(f"there is no module '{error.name}' here or on PYTHONPATH (from '{name}')") from None
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AppNotFoundError(f"module '{module_name}' has no attribute '{attribute}' (from '{name}')") from None
    if not callable(found):
        article = "an" if what[0] in "ae" else "a"
        raise AppNotFoundError(f"'{name}' is a {type(found).__name__}, not {article} {what}")
    return found
