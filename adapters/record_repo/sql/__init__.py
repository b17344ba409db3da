"""The catalogue in a database: the same tables and statements on SQLite and PostgreSQL.

`repo` says what each call of the port means in rows; `statements` and `tables` are SQLAlchemy
Core, compiled once; a driver (`sqlite`, `postgres`) runs them on connections of the database's own
library, groups what has queued into one transaction, and settles what became of a commit.
"""
