"""Adapters of the port Compressor, one module per compression format."""
