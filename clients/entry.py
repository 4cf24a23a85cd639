"""Where `handclasp-http1` and `handclasp-http2` begin."""

from importlib import import_module

from pki.interrupts import INTERRUPTED, quiet


def http1() -> int:
    """Run `handclasp-http1`; return its exit code."""
    return _begin("http1")


def http2() -> int:
    """Run `handclasp-http2`; return its exit code."""
    return _begin("http2")


def _begin(version: str) -> int:
    with quiet():
        from clients.cli import run

        client = import_module(f"clients.{version}").Client
    try:
        return run(f"handclasp-{version}", client)
    except KeyboardInterrupt:  # between the first word of it and the last
        return INTERRUPTED
