"""The adapters of the catalogue: `memory` in this process, `sql` in SQLite and PostgreSQL."""
