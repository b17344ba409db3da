"""Loads and soaks: commands that state their rate, their window and what they saw."""
