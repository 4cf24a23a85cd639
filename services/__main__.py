"""`handclasp-serve`, and `python -m services`: where the command begins."""

import sys

from pki.interrupts import INTERRUPTED, quiet


def main() -> int:
    """Run the command; return its exit code."""
    with quiet():
        from services.cli import main as command
    try:
        return command()
    except KeyboardInterrupt:  # between the first word of it and the last
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
