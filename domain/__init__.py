"""Values and rules of traffic evidence.

Frozen attrs values, vocabularies and pure functions: what a violation is, how long its files are
kept, in which stores they are written. Nothing here does I/O, reads a clock or an environment, or
logs; the current time and random identifiers are arguments.
"""
