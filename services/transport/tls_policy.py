"""What is offered to clients, by the name that an operator chooses it by."""

from __future__ import annotations

from enum import Enum


class TLSPolicy(Enum):
    """What is offered to clients. Every suite has forward secrecy and authenticated encryption."""

    DEFAULT = "default"
    """TLS 1.3, and for TLS 1.2 one suite: ECDHE-ECDSA-AES256-GCM-SHA384."""
    MODERN = "modern"
    """TLS 1.3 alone."""
    INTERMEDIATE = "intermediate"
    """Also the other ECDHE suites with an AEAD for TLS 1.2: what RSA keys and older clients need."""
