"""Threads that run the blocking calls of the adapters and return the results to an event loop."""
