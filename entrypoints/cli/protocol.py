"""HTTP as the server reads it: the authority of a target in absolute form is not lost."""

from urllib.parse import urlsplit

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """Takes the host from a target in absolute form, where there is one.

    `GET http://a/ HTTP/1.1` asks for host a whatever `Host` says (RFC 9112, section 3.2.2);
    uvicorn keeps only the path, so that nobody behind it could tell.
    """

    def on_headers_complete(self) -> None:
        """Pass the head on, with the host that is asked for."""
        if not self.url.startswith((b"/", b"*")):
            others = [(name, value) for name, value in self.headers if name != b"host"]
            # The list is the one that the application sees.
            self.headers[:] = [*others, (b"host", _authority(self.url))]
        super().on_headers_complete()


def _authority(target: bytes) -> bytes:
    """The authority of a target; of one that has none, the target itself."""
    try:
        return urlsplit(target).netloc or target
    except ValueError:
        return target
