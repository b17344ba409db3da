"""Adapters of the port Cache: in this process, and in Redis or Valkey."""
