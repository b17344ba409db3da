"""Compressor: one module a coding."""
