"""Adapters of the port Images, which encodes and decodes still images."""
