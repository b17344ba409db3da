"""Adapters of the port Images."""
