"""A body whose file stays open as long as a thread may need it."""

import os

from traffic_storage.adapters.files.descriptors import Descriptor
from traffic_storage.ports.spool import Body, FileBody


class OwnBody:
    """A body with a descriptor of its own, which is closed with the last reference to this object.

    A thread that hangs in a call may outlast its caller, who closes the spool's file; another file
    could then have the same descriptor.
    """

    def __init__(self, body: Body, file: Descriptor | None) -> None:
        self.body = body
        self._file = file

    @classmethod
    def of(cls, body: Body) -> "OwnBody":
        """Return a body with the same bytes."""
        if not isinstance(body, FileBody):
            return cls(body, None)
        file = Descriptor(os.dup(body.fd))
        return cls(FileBody(file.fd, body.digests), file)
