"""The tables. Times are whole seconds since 1970 in UTC, so that both databases compare them alike.

No certificate is kept, only what finding, revoking and renewing it needs: a few hundred bytes each, where an
authority that keeps all PEM of all leaves grows to hundreds of gigabytes (step-ca's certificates#159).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

# What Alembic's newest migration is called. A test holds the two together; asking Alembic costs its import.
HEAD = "v0002"
# Every version that there has been, oldest first: one that is not among them is of a newer program.
VERSIONS = ("v0001", "v0002")

metadata = MetaData()

authorities = Table(
    "authorities",
    metadata,
    Column("sha256", Text, primary_key=True),  # of the certificate that signs
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("activated_at", BigInteger),  # of the active ones, the latest signs
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("certificate", Text, nullable=False),
    Column("anchor", Text, nullable=False),  # the same certificate, or the root above it
    Column("folder", Text, nullable=False),  # in the state folder
    Column("crl_number", BigInteger, nullable=False, server_default="0"),
    Column("crl_this_update", BigInteger),
    Column("crl_next_update", BigInteger),
    CheckConstraint("state IN ('staged', 'active', 'retiring', 'retired')", name="authority_state"),
)

names = Table(
    "names",
    metadata,
    Column("name", Text, primary_key=True),
    Column("profile", Text, nullable=False),
    Column("sans", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("days", Integer, nullable=False),
    Column("folder", Text, nullable=False),
    Column("serial", Text, nullable=False),  # of the latest certificate: times alone would tie within a second
)

certificates = Table(
    "certificates",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("sans", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("spki_sha256", Text, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    # The SHA-256 of an authority; empty where nobody knows: of a certificate that an older Handclasp recorded.
    Column("issuer", Text, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="issued"),
    Column("reason", Text),
    Column("revoked_at", BigInteger),
    # A CRL issued behind its end has shown it, so that it may leave the list (RFC 5280 3.3).
    Column("shown_expired", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("state IN ('issued', 'revoked', 'held')", name="certificate_state"),
    CheckConstraint("(state = 'issued') = (revoked_at IS NULL)", name="certificate_revoked_at"),
    # The newest of a name is asked for at each renewal by a caller: short-lived ones are thousands in a month.
    Index("certificates_name_issued_at", "name", "issued_at"),
    Index("certificates_sha256", "sha256"),
    Index("certificates_spki_sha256", "spki_sha256"),
    Index("certificates_not_after", "not_after"),
    Index("certificates_issuer", "issuer", "not_after"),
)

# One-time tokens: each lets one who has no certificate yet make a first one. What was handed out is not kept, only its
# hash: who reads this table cannot enroll.
tokens = Table(
    "tokens",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("sans", Text, nullable=False),
    Column("days", Integer, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("requested_by", Text, nullable=False),
    Index("tokens_expires_at", "expires_at"),
)

# The few among the many: making a CRL reads these and no others. The migration makes it of those alone that are not
# "issued"; said here, it would import PostgreSQL's dialect for SQLite's sake, which takes a tenth of a command's time.
Index("certificates_revoked", certificates.c.issuer, certificates.c.not_after)
