"""Values and rules of traffic evidence.

Frozen attrs values, vocabularies and pure functions: what a violation is, when it may be kept,
where a blob belongs. Nothing here does I/O, reads a clock or an environment, or logs; the current
time and random identifiers come in as arguments.
"""
