"""The catalogue in a database: the same tables and statements on SQLite and PostgreSQL.

`repo` translates each call of the port into statements; `statements` and `tables` are SQLAlchemy
Core, compiled once. A driver (`sqlite`, `postgres`) runs the statements with the database's own
library (`sqlite3`, `asyncpg`). It runs the queued writes as one transaction, and determines whether
a commit without an answer happened.
"""
