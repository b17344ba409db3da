"""Whose tables are in a PostgreSQL database, and their upgrade."""

from sqlalchemy import Connection, bindparam, text

from traffic_storage.adapters.record_repo.sql import migrations
from traffic_storage.adapters.record_repo.sql.tables import metadata
from traffic_storage.domain.errors import ConfigurationError

FOUND = """
    SELECT to_regclass('alembic_version') IS NOT NULL, EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('catalogue') AND attname = 'catalogue_id'
    )
"""
"""Gives whether there is a version of tables, and whether there are tables of ours."""

_NAMES = tuple(
    sorted(
        {table.name for table in metadata.sorted_tables}
        | {str(index.name) for table in metadata.sorted_tables for index in table.indexes}
    )
)
_TAKEN = text("""
    SELECT relname FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relname IN :names
    ORDER BY relname
""").bindparams(bindparam("names", _NAMES, expanding=True))

_MOST_TOLD = 3
_REMEDY = "set db_schema to a schema of its own, such as traffic_storage, or name another database"


def has_version(is_there: bool, is_ours: bool) -> bool:
    """Return whether `migrations.CURRENT` gives the version of our tables, by the row of `FOUND`.

    Raises:
        ConfigurationError: the version is that of another application's tables.
    """
    if is_there and not is_ours:
        raise ConfigurationError.of(
            "db_name", "the database has the tables of another application", _REMEDY
        )
    return is_there


def upgrade(connection: Connection, schema: str | None, *, one_transaction: bool) -> None:
    """Make the schema and the tables, or bring them up to date. The caller has locked this out.

    With `one_transaction`, all steps belong to the transaction of `connection`.

    Raises:
        ConfigurationError: the database has tables of another application, or another encoding
            than UTF-8.
    """
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError.of(
            "db_name",
            f"the database has the encoding {encoding}",
            "create it with ENCODING 'UTF8' TEMPLATE template0",
        )
    there = has_version(*connection.exec_driver_sql(FOUND).one())
    found = connection.exec_driver_sql(migrations.CURRENT).scalar() if there else None
    if found is None:
        _make_schema(connection, schema)
        _refuse_taken_names(connection)
    # Alembic begins a transaction for each step, unless one is open already.
    if not one_transaction:
        connection.commit()
    migrations.upgrade(connection, found)


def _make_schema(connection: Connection, schema: str | None) -> None:
    there = text("SELECT to_regnamespace(quote_ident(:name)) IS NOT NULL")
    if schema is not None and not connection.execute(there, {"name": schema}).scalar_one():
        connection.exec_driver_sql(f'CREATE SCHEMA "{schema}"')


def _refuse_taken_names(connection: Connection) -> None:
    taken = connection.execute(_TAKEN).scalars().all()
    if taken:
        told = ", ".join(taken[:_MOST_TOLD]) + (", …" if len(taken) > _MOST_TOLD else "")
        message = f"the database has tables of another application with names of ours: {told}"
        raise ConfigurationError.of("db_name", message, _REMEDY)
