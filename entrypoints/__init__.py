"""The ways in, and the place where everything is put together.

The container wires settings, adapters and use cases; the embedded service, HTTP, the command line
and the testing kit are built on it. Tables that turn errors into status and exit codes live here.
"""
