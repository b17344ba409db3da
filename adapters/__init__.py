"""The ports, each fulfilled by a technology.

One folder a port, one module a technology: `adapters/<port>/<technology>.py`. An adapter
translates its technology's errors in one place, owns its threads and processes, and knows no other
adapter.
"""
