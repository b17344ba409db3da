"""The interfaces of the system (Python, HTTP, command line) and their composition root.

The container wires settings, adapters and use cases; the embedded service, HTTP, the command line
and the testing kit are built on it. Tables that turn errors into status and exit codes live here.
"""
