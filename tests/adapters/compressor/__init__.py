"""The compressors."""
