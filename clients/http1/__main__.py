"""`python -m clients.http1`."""

import sys

from clients.entry import http1

if __name__ == "__main__":
    sys.exit(http1())
