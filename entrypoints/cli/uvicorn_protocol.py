"""HTTP as the server reads it: no authority is lost, and no trailer becomes a header."""

from urllib.parse import urlsplit

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """Takes the host from a target in absolute form, and leaves trailers out.

    `GET http://a/ HTTP/1.1` asks for host a whatever `Host` says (RFC 9112, section 3.2.2);
    uvicorn keeps only the path, so that nobody behind it could tell. And it adds the trailers of a
    body to the headers, in time or not, where they would count (RFC 9110, section 6.5.1).
    """

    def on_headers_complete(self) -> None:
        """Pass the head on, with the host that is asked for."""
        if not self.url.startswith((b"/", b"*")):
            others = [(name, value) for name, value in self.headers if name != b"host"]
            # The list is the one that the application sees.
            self.headers[:] = [*others, (b"host", _authority(self.url))]
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            # What comes now is in no list that anybody reads.
            self.headers = []


def _authority(target: bytes) -> bytes:
    """The authority of a target; of one that has none, the target itself."""
    try:
        return urlsplit(target).netloc or target
    except ValueError:
        return target
