"""Fault injection: wrappers of adapters that fail as planned and otherwise forward each call."""
