"""Create the tables of releases, their holdings and their locations."""

import sqlalchemy as sa
from alembic import op

revision = "releases"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "release",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("expires", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("taken_down", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "holding",
        sa.Column("release", sa.String(64), sa.ForeignKey("release.hash"), primary_key=True),
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("language", sa.Text, primary_key=True),
        sa.Column("licence", sa.Text, primary_key=True),
        sa.Column("licence_class", sa.Text, nullable=False),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sa.Column("min_quality", sa.Float, nullable=False),
        sa.Column("max_quality", sa.Float, nullable=False),
    )
    op.create_table(
        "place",
        sa.Column("location", sa.Text, primary_key=True),
        sa.Column("release", sa.String(64), sa.ForeignKey("release.hash"), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("place", "holding", "release"):
        op.drop_table(table)
