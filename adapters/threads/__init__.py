"""Threads of the adapters' own, and how their results return to an event loop."""
