"""`handclasp-pki`, and `python -m pki`: where the command begins."""

import gc
import sys

from pki.interrupts import INTERRUPTED, quiet

# What is imported stays until the end; going over it again and again is a sixth of the time of a short command.
_OBJECTS_BETWEEN_COLLECTIONS = 500_000


def main() -> int:
    """Run the command; return its exit code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    with quiet():
        from pki.cli import main as command
    try:
        return command()
    except KeyboardInterrupt:  # between the first word of it and the last
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
