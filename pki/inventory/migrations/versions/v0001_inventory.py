"""The inventory: authorities, names, certificates."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "authorities",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("activated_at", sa.BigInteger),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("certificate", sa.Text, nullable=False),
        sa.Column("anchor", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("crl_number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("crl_this_update", sa.BigInteger),
        sa.Column("crl_next_update", sa.BigInteger),
        sa.CheckConstraint("state IN ('staged', 'active', 'retiring', 'retired')", name="authority_state"),
    )
    op.create_table(
        "names",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("sans", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("serial", sa.Text, nullable=False),
    )
    op.create_table(
        "certificates",
        sa.Column("serial", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("sans", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("spki_sha256", sa.Text, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="issued"),
        sa.Column("reason", sa.Text),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("shown_expired", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.CheckConstraint("state IN ('issued', 'revoked', 'held')", name="certificate_state"),
        sa.CheckConstraint("(state = 'issued') = (revoked_at IS NULL)", name="certificate_revoked_at"),
    )
    op.create_index("certificates_name", "certificates", ["name"])
    op.create_index("certificates_sha256", "certificates", ["sha256"])
    op.create_index("certificates_spki_sha256", "certificates", ["spki_sha256"])
    op.create_index("certificates_not_after", "certificates", ["not_after"])
    op.create_index("certificates_issuer", "certificates", ["issuer", "not_after"])
    op.create_index(
        "certificates_revoked",
        "certificates",
        ["issuer", "not_after"],
        sqlite_where=sa.text("state != 'issued'"),
        postgresql_where=sa.text("state != 'issued'"),
    )
