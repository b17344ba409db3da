"""Labels that are added later: their names in the row of a file, and counts that only move."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; neither database writes a row for that."""
    text = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
    op.add_column("file", sa.Column("added_labels", text))
    # The default is for the rows that are there: what was counted before has not moved.
    moved = sa.Column("moved", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("usage_delta", moved)
