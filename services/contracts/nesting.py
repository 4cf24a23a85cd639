"""How deep a message in JSON may be nested: as deep as protobuf's binary form, for both ends.

Written by hand, and not for beauty: the parser underneath (protobuf-py 0.7) recurses without a bound where a value is
of another type than its field, so that twenty thousand brackets end the process with a fault of the stack. A request
of that kind is 20 kilobytes, and at the listener for one-time tokens nobody has shown a certificate.
"""

from __future__ import annotations

import re
from itertools import accumulate

DEEPEST = 100
"""Levels: protobuf's own limit for what is nested in its binary form."""

# A string to its end, or to the end of all where it has none: each byte is looked at once, whatever a stranger sends.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OTHERS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def is_too_deep(data: bytes | bytearray) -> bool:
    """Whether this JSON nests deeper than DEEPEST; of what is no JSON, the part before its first fault."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return False
    brackets = _STRING.sub(b"", data).translate(None, _OTHERS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > DEEPEST
