"""The catalogue, each technology a module or package: `memory`, `sql`."""
