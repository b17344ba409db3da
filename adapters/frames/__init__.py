"""Adapters of the port Frames."""
