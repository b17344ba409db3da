"""Alembic's entry: runs the steps on the connection that `upgrade` hands over."""

from alembic import context

from traffic_storage.adapters.record_repo.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
