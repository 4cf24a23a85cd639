"""`python -m clients.http2`."""

import sys

from clients.entry import http2

if __name__ == "__main__":
    sys.exit(http2())
