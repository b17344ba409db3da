"""Tests of the entrypoints, through the real things."""
