"""The streaming parser of multipart forms."""

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.http.errors import BadMultipart, UnsupportedRequest
from traffic_storage.entrypoints.http.multipart import (
    MAX_PARTS,
    Multipart,
    PartHead,
    boundary_of,
)

BOUNDARY = b"----frontier"


async def arriving(body: bytes, sizes: Sequence[int] = ()) -> AsyncIterator[bytes]:
    """A body in pieces of these sizes, the rest at once."""
    for size in sizes:
        if piece := body[:size]:
            yield piece
        body = body[size:]
    if body:
        yield body


async def parsed(source: AsyncIterator[bytes]) -> list[tuple[PartHead, bytes]]:
    multipart = Multipart(BOUNDARY, source)
    parts = []
    while (head := await multipart.next_part()) is not None:
        parts.append((head, b"".join([chunk async for chunk in multipart.chunks()])))
    return parts


def part(name: str, content: bytes, *lines: str) -> bytes:
    head = "\r\n".join([f'Content-Disposition: form-data; name="{name}"', *lines, "", ""])
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + content + b"\r\n"


def body_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


NEARLY = b"\r\n--" + BOUNDARY[:-1] + b"X"
CONTENT = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n--", NEARLY]), max_size=20
    ).map(b"".join),
)


@given(st.lists(CONTENT, min_size=1, max_size=5), st.lists(st.integers(1, 40), max_size=60))
async def test_any_way_of_arriving_gives_the_same_parts(
    contents: list[bytes], sizes: list[int]
) -> None:
    body = body_of(*(part(f"f{i}", content) for i, content in enumerate(contents)))
    parts = await parsed(arriving(body, sizes))
    assert [(head.name, content) for head, content in parts] == [
        (f"f{i}", content) for i, content in enumerate(contents)
    ]


async def test_the_head_of_a_part_is_read() -> None:
    lines = ("content-TYPE:image/jpeg ", "X-Other: 1")
    body = body_of(part('fi\\"le', b"x", *lines))
    ((head, _),) = await parsed(arriving(body))
    assert head.name == 'fi"le'
    assert head.content_type == "image/jpeg"


async def test_a_filename_is_only_a_label() -> None:
    body = body_of(part('f"; filename="../../etc/passwd', b"x"))
    ((head, content),) = await parsed(arriving(body))
    assert (head.name, content) == ("f", b"x")


async def test_what_stands_before_and_behind_is_passed_over() -> None:
    body = b"\r\n" + body_of(part("a", b"1")) + b"epilogue"
    assert [content for _, content in await parsed(arriving(body, [3, 5]))] == [b"1"]


async def test_a_form_without_parts_is_empty() -> None:
    assert await parsed(arriving(b"--" + BOUNDARY + b"--")) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no multipart at all",
        b"--other\r\n\r\n",
        part("a", b"1"),
        part("a", b"1")[:-20],
        body_of(part("a", b"1"))[:-6],
        b"--" + BOUNDARY + b"\r\n\r\nno head\r\n--" + BOUNDARY + b"--",
        b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n--" + BOUNDARY + b"--",
        b"--" + BOUNDARY + b"\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n",
        b"--" + BOUNDARY + b"\r\nno colon\r\n\r\nx\r\n",
        b"--" + BOUNDARY + b"\r\nA: " + b"x" * 100_000,
        b"--" + BOUNDARY + b"\r\n" + b"x" * 100_000,
        b"--" + BOUNDARY + b"\r\n" + b"A: 1\r\n" * 1000,
        b"--" + BOUNDARY + b"\nContent-Disposition: form-data; name=a\n\nx\n--" + BOUNDARY + b"--",
        body_of(part("a", b"1", "Content-Transfer-Encoding: base64")),
        body_of(part("a", b"1", 'Content-Disposition: form-data; name="b"')),
        body_of(*(part(f"f{i}", b"") for i in range(MAX_PARTS + 1))),
    ],
)
@pytest.mark.parametrize("sizes", [[], [1] * 200])
async def test_what_is_broken_is_refused(body: bytes, sizes: list[int]) -> None:
    with pytest.raises(BadMultipart) as caught:
        await parsed(arriving(body, sizes))
    assert caught.value.remedy


def test_the_boundary_is_found() -> None:
    assert boundary_of("multipart/form-data; boundary=abc") == b"abc"
    assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="a b"') == b"a b"


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        (None, UnsupportedRequest),
        ("application/json", UnsupportedRequest),
        ("multipart/mixed; boundary=abc", UnsupportedRequest),
        ("multipart/form-data", BadMultipart),
        ("multipart/form-data; boundary=", BadMultipart),
        ("multipart/form-data; boundary=" + "x" * 71, BadMultipart),
    ],
)
def test_a_body_of_another_type_is_refused(
    content_type: str | None, error: type[InvalidInput]
) -> None:
    with pytest.raises(error) as caught:
        boundary_of(content_type)
    assert caught.value.problems[0].field == "Content-Type"
