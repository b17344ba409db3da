"""Fault injection: decorators of the ports that fail as planned and otherwise call an adapter."""
