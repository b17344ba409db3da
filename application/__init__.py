"""What the system does: use cases that decide or order something, in terms of ports.

No technology is named here. A use case gets its ports when it is made, so that every one of them
can be exchanged; plain reads need no use case and go from an entrypoint to a port.
"""
