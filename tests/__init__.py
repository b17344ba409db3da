"""The tests, in folders that mirror the house.

Each behaviour is said once: contracts run on every adapter with its real server, use cases run on
in-memory adapters, entrypoints run through the real app and the real command line.
"""
