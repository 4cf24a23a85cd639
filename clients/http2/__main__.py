"""`handclasp-http2`."""

import sys

from clients.cli import run
from clients.http2 import Client


def main() -> None:
    """Run the command; see `handclasp-http2 --help`."""
    sys.exit(run("handclasp-http2", Client))


if __name__ == "__main__":
    main()
