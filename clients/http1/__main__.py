"""`handclasp-http1`."""

import sys

from clients.cli import run
from clients.http1 import Client


def main() -> None:
    """Run the command; see `handclasp-http1 --help`."""
    sys.exit(run("handclasp-http1", Client))


if __name__ == "__main__":
    main()
