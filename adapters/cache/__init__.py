"""Cache: in this process, or in Redis or Valkey."""
