"""Crashes: processes that are killed at any instant, and what must be true afterwards."""
