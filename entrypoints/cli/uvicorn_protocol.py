"""HTTP/1.1 of uvicorn, corrected in two cases: request targets with a host, and trailers."""

from urllib.parse import urlsplit

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """Takes the host from a target in absolute form, and discards trailers.

    The target of `GET http://a/ HTTP/1.1` overrides the header `Host` (RFC 9112, section 3.2.2),
    but uvicorn passes only the path of the target to the application. A trailer must not be taken
    for a header (RFC 9110, section 6.5.1), but uvicorn appends trailers to the list of headers.
    """

    def on_headers_complete(self) -> None:
        """Pass the headers on, with the host of the target if it names one."""
        if not self.url.startswith((b"/", b"*")):
            others = [(name, value) for name, value in self.headers if name != b"host"]
            # The application reads this list object, so it is changed in place.
            self.headers[:] = [*others, (b"host", _authority(self.url))]
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            # Trailers that follow go into a list that is never read.
            self.headers = []


def _authority(target: bytes) -> bytes:
    """Return the authority of a target, or the target itself if it has none."""
    try:
        return urlsplit(target).netloc or target
    except ValueError:
        return target
