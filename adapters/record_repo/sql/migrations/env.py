"""Alembic's entry: runs the steps on the connection that `upgrade` passes.

Each step is a transaction together with its version, unless the connection has one open: then all
steps belong to that one.
"""

from alembic import context

from traffic_storage.adapters.record_repo.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
