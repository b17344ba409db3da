"""Keys of uploads whose file has another id than the one that is derived from the key."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table, without rows: keys that were used before keep the files that have their ids."""
    text = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
    op.create_table(
        "keyed_upload",
        sa.Column("derived_id", text, primary_key=True),
        sa.Column("file_id", text, sa.ForeignKey("file.file_id"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
