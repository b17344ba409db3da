"""Threads of the adapters' own, and the way back from them to an event loop."""
