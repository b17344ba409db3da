"""Adapters of the port `TableWriter`, one module per file format."""
