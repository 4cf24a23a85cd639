"""One-time tokens for a first enrollment; the newest certificate of a name by an index."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "tokens",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("sans", sa.Text, nullable=False),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("requested_by", sa.Text, nullable=False),
    )
    op.create_index("tokens_expires_at", "tokens", ["expires_at"])
    op.create_index("certificates_name_issued_at", "certificates", ["name", "issued_at"])
    op.drop_index("certificates_name", "certificates")
