"""Threads for the adapters, and the delivery of their results to an event loop."""
