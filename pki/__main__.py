"""`handclasp-pki`, and `python -m pki`: where the command begins."""

import gc
import sys

# What is imported stays until the end; going over it again and again is a sixth of the time of a short command.
_OBJECTS_BETWEEN_COLLECTIONS = 500_000


def main() -> int:
    """Run the command; return its exit code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    from pki.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
