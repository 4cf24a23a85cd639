"""`python -m pki`: the same as `handclasp-pki`."""

import sys

from pki.cli import main

sys.exit(main())
