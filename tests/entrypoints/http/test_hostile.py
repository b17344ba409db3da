"""Hostile input: each is refused with its status, problem type, field and remedy; nothing stays."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from attrs import field, frozen

from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, fields_of, problem, video
from tests.support import media

JPEG = IMAGE[1]
MIB = 1024 * 1024
RTL = "\u202e"


@frozen
class Hostile:
    """A form that must be refused, and how."""

    status: int
    name: str
    fields: tuple[str, ...]
    path: str = "/files/upload/image"
    files: Mapping[str, Any] = field(factory=lambda: {"file": IMAGE})
    data: Mapping[str, str] = field(factory=dict)


def image(data: bytes, kind: str = "image/jpeg") -> dict[str, Any]:
    return {"file": ("x", data, kind)}


def upload_video(data: bytes, kind: str = "video/mp4", **texts: str) -> dict[str, Any]:
    return {"path": "/files/upload/video", "files": image(data, kind), "data": texts}


def violation(**changed: str) -> dict[str, Any]:
    return {"path": "/violations", "files": {"image_file": IMAGE}, "data": {**RECORD, **changed}}


def bad(*fields: str) -> tuple[int, str, tuple[str, ...]]:
    return (422, "invalid-input", fields)


BROKEN = (422, "undecodable-media", ("file",))
OTHER_TYPE = (415, "unsupported-media", ("file",))

CASES = {
    "truncated jpeg": Hostile(*BROKEN, files=image(media.truncated(JPEG))),
    "truncated png": Hostile(
        *BROKEN, files=image(media.truncated(media.encoded("camera", "PNG")), "image/png")
    ),
    "jpeg head only": Hostile(*BROKEN, files=image(JPEG[:64])),
    "noise behind a jpeg's signature": Hostile(*BROKEN, files=image(b"\xff\xd8\xff" + b"x" * 999)),
    "no image": Hostile(*OTHER_TYPE, files=image(b"just text, no image", "image/jpeg")),
    "empty": Hostile(*bad("file"), files=image(b"")),
    "gif": Hostile(*OTHER_TYPE, files=image(b"GIF89a" + b"\0" * 60, "image/gif")),
    "svg": Hostile(*OTHER_TYPE, files=image(b"<svg onload='alert(1)'/>", "image/svg+xml")),
    "png declared as jpeg": Hostile(
        *OTHER_TYPE, files=image(media.encoded("camera", "PNG"), "image/jpeg")
    ),
    "image declared as video": Hostile(*OTHER_TYPE, files=image(JPEG, "video/mp4")),
    "video as image": Hostile(*OTHER_TYPE, files=image(video()[1], "video/mp4")),
    "decompression bomb": Hostile(
        413, "too-large", ("file",), files=image(media.bomb_png(), "image/png")
    ),
    "too many bytes": Hostile(413, "too-large", ("file",), files=image(b"\xff" * (MIB + 1))),
    "far too many bytes": Hostile(413, "too-large", ("file",), files=image(b"\xff" * 4 * MIB)),
    "digest contradicted": Hostile(
        422, "digest-mismatch", ("sha256",), data={"sha256": hashlib.sha256(b"x").hexdigest()}
    ),
    "digest that is none": Hostile(*bad("sha256"), data={"sha256": "abc"}),
    "image as video": Hostile(*OTHER_TYPE, **upload_video(JPEG, "video/mp4")),
    "unknown video": Hostile(*OTHER_TYPE, **upload_video(b"\x01" * 9999, "video/mp4")),
    "truncated video": Hostile(*BROKEN, **upload_video(media.truncated(video()[1]))),
    "webm declared as mp4": Hostile(
        *OTHER_TYPE, **upload_video(media.video("webm", seconds=0.4), "video/mp4")
    ),
    "negative duration": Hostile(
        *bad("duration_seconds"), **upload_video(video()[1], duration_seconds="-1")
    ),
    "duration that is no number": Hostile(
        *bad("duration_seconds"), **upload_video(video()[1], duration_seconds="nan")
    ),
    "no file": Hostile(*bad("file"), files={"device_id": (None, "cam_001")}),
    "unknown field": Hostile(*bad("devise_id"), data={"devise_id": "cam_001"}),
    "field of another form": Hostile(*bad("duration_seconds"), data={"duration_seconds": "1"}),
    "id of dots": Hostile(*bad("file_id"), data={"file_id": ".."}),
    "id with a tilde": Hostile(*bad("file_id"), data={"file_id": "V001~image"}),
    "id with NUL": Hostile(*bad("file_id"), data={"file_id": "a\0b"}),
    "id with slashes": Hostile(*bad("file_id"), data={"file_id": "../../etc/passwd"}),
    "id of 10,000 characters": Hostile(*bad("file_id"), data={"file_id": "x" * 10_000}),
    "id with right-to-left marks": Hostile(*bad("file_id"), data={"file_id": f"a{RTL}b"}),
    "violation id with a tilde": Hostile(*bad("violation_id"), data={"violation_id": "V~image"}),
    "device with right-to-left marks": Hostile(*bad("device_id"), data={"device_id": f"cam{RTL}"}),
    "device of 10,000 characters": Hostile(*bad("device_id"), data={"device_id": "x" * 10_000}),
    "device with NUL": Hostile(*bad("device_id"), data={"device_id": "\0"}),
    "a text of a megabyte": Hostile(
        413, "too-large", ("device_id",), data={"device_id": "x" * MIB}
    ),
    "metadata that is no JSON": Hostile(*bad("metadata"), data={"metadata": "{lane: 2}"}),
    "metadata that is a list": Hostile(*bad("metadata"), data={"metadata": "[1]"}),
    "metadata with NaN": Hostile(*bad("metadata"), data={"metadata": '{"a": NaN}'}),
    "metadata with a key twice": Hostile(*bad("metadata"), data={"metadata": '{"a":1,"a":2}'}),
    "metadata nested too deep": Hostile(
        *bad("metadata"), data={"metadata": '{"a":' + "[" * 20_000 + "]" * 20_000 + "}"}
    ),
    "metadata with an impossible time": Hostile(
        *bad("metadata.timestamp"), data={"metadata": '{"timestamp": "2025-02-30T00:00:00"}'}
    ),
    "metadata from the future": Hostile(
        *bad("metadata.timestamp"), data={"metadata": '{"timestamp": "2999-01-01T00:00:00"}'}
    ),
    "metadata that contradicts": Hostile(
        *bad("metadata.device_id"),
        data={"device_id": "cam_001", "metadata": '{"device_id": "cam_002"}'},
    ),
    "box that is no JSON": Hostile(*bad("vehicle_bbox"), **violation(vehicle_bbox="100,100")),
    "box that is no list": Hostile(*bad("vehicle_bbox"), **violation(vehicle_bbox='{"x":1}')),
    "box of three": Hostile(*bad("vehicle_bbox"), **violation(vehicle_bbox="[1,2,3]")),
    "box of texts": Hostile(*bad("vehicle_bbox"), **violation(vehicle_bbox='["a",0,1,1]')),
    "box of nothing": Hostile(*bad("vehicle_bbox"), **violation(vehicle_bbox="[5,5,5,5]")),
    "box with infinity": Hostile(
        *bad("vehicle_bbox[2]"), **violation(vehicle_bbox="[0,0,1e999,1]")
    ),
    "box with a huge number": Hostile(
        *bad("vehicle_bbox"), **violation(vehicle_bbox=f"[0,0,1,{'9' * 5000}]")
    ),
    "confidence above one": Hostile(*bad("confidence"), **violation(confidence="1.01")),
    "confidence below zero": Hostile(*bad("confidence"), **violation(confidence="-0.1")),
    "confidence that is none": Hostile(*bad("confidence"), **violation(confidence="nan")),
    "impossible time": Hostile(*bad("timestamp"), **violation(timestamp="2025-11-31T10:00:00")),
    "time of the future": Hostile(*bad("timestamp"), **violation(timestamp="2026-04-01T00:00:00")),
    "time before 1970": Hostile(*bad("timestamp"), **violation(timestamp="1969-12-31T00:00:00")),
    "time out of range": Hostile(
        *bad("timestamp"), **violation(timestamp="9999-12-31T23:59:59-14:00")
    ),
    "time out of range below": Hostile(
        *bad("timestamp"), **violation(timestamp="0001-01-01T00:00:00+14:00")
    ),
    "violation id of 181 characters": Hostile(
        *bad("violation_id"), **violation(violation_id="x" * 181)
    ),
    "camera info that is no object": Hostile(*bad("camera_info"), **violation(camera_info="[]")),
    "camera info of 100 KB": Hostile(
        *bad("camera_info"), **violation(camera_info='{"a":"' + "x" * 100_000 + '"}')
    ),
    "model version that is no text": Hostile(
        *bad("model_versions"), **violation(model_versions='{"yolo": 8}')
    ),
    "negative processing time": Hostile(
        *bad("processing_time_ms"), **violation(processing_time_ms="-1")
    ),
    "broken image of a violation": Hostile(
        422,
        "undecodable-media",
        ("image_file",),
        "/violations",
        {"image_file": ("x", media.truncated(JPEG), "image/jpeg"), "video_file": video()},
        RECORD,
    ),
    "broken video of a violation": Hostile(
        422,
        "undecodable-media",
        ("video_file",),
        "/violations",
        {"image_file": IMAGE, "video_file": ("x", media.truncated(video()[1]), "video/mp4")},
        RECORD,
    ),
    "empty image of a violation": Hostile(
        *bad("image_file"),
        path="/violations",
        files={"image_file": ("empty.jpg", b"", "image/jpeg")},
        data=RECORD,
    ),
    "violation of nothing": Hostile(
        422,
        "invalid-input",
        (
            "violation_id",
            "device_id",
            "violation_type",
            "timestamp",
            "vehicle_bbox",
            "vehicle_class",
            "confidence",
        ),
        "/violations",
        {"image_file": IMAGE},
    ),
}


async def test_a_hostile_form_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for name, case in CASES.items():
        with subtests.test(name):
            response = await client.post(case.path, files=case.files, data=case.data)
            document = problem(response, case.status, case.name)
            assert fields_of(document) == list(case.fields)
            assert all(error["message"] and error["remedy"] for error in document["errors"])
            # What it quotes is short.
            assert len(response.content) < 20_000
            assert await counted(client) == (0, 0)


@pytest.mark.parametrize("name", ["file", "device_id"])
async def test_a_field_that_comes_twice_is_refused(client: httpx.AsyncClient, name: str) -> None:
    files = [("file", IMAGE), ("device_id", (None, "cam_001")), (name, (None, "again"))]
    response = await client.post("/files/upload/image", files=files)  # type: ignore[arg-type]
    assert fields_of(problem(response, 422, "invalid-input")) == [name]
    assert await counted(client) == (0, 0)


BAD_BODIES: dict[str, tuple[str | None, bytes, int, str, str]] = {
    "not multipart": ("application/json", b"{}", 415, "unsupported-body", "Content-Type"),
    "no type": (None, b"{}", 415, "unsupported-body", "Content-Type"),
    "no boundary": ("multipart/form-data", b"--x--", 400, "bad-multipart", "Content-Type"),
    "no part": ("multipart/form-data; boundary=x", b"--x--", 422, "invalid-input", "file"),
    "nothing": ("multipart/form-data; boundary=x", b"", 400, "bad-multipart", "body"),
    "other boundary": (
        "multipart/form-data; boundary=x",
        b"--y\r\n\r\n--y--",
        400,
        "bad-multipart",
        "body",
    ),
    "cut in the file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + JPEG,
        400,
        "bad-multipart",
        "body",
    ),
    "text that is no UTF-8": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="device_id"\r\n\r\n\xff\r\n--x--',
        422,
        "invalid-input",
        "device_id",
    ),
    "endless part head": (
        "multipart/form-data; boundary=x",
        b"--x\r\nContent-Disposition: " + b"a" * 100_000,
        400,
        "bad-multipart",
        "body",
    ),
    "a thousand parts": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="device_id"\r\n\r\na\r\n' * 1000,
        400,
        "bad-multipart",
        "body",
    ),
}


@pytest.mark.parametrize("path", ["/violations", "/validate"])
async def test_what_takes_a_form_or_json_names_both(client: httpx.AsyncClient, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", ""):
        response = await client.post(path, content=b"x=1", headers={"Content-Type": kind})
        document = problem(response, 415, "unsupported-body")
        assert "multipart/form-data or application/json" in document["detail"]
    only_form = await client.post("/files/upload/image", json={})
    assert "json" not in problem(only_form, 415, "unsupported-body")["remedy"]


async def test_what_takes_json_alone_names_it(client: httpx.AsyncClient) -> None:
    for path in ("/files/upload/metadata", "/holds"):
        response = await client.post(path, content=b"x=1", headers={"Content-Type": "text/plain"})
        detail = problem(response, 415, "unsupported-body")["detail"]
        assert "is 'text/plain', but must be application/json" in detail


async def test_a_bad_body_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for case, (content_type, body, status, name, field_name) in BAD_BODIES.items():
        with subtests.test(case):
            headers = {"Content-Type": content_type} if content_type else {}
            response = await client.post("/files/upload/image", content=body, headers=headers)
            document = problem(response, status, name)
            assert fields_of(document) == [field_name]
            assert document["errors"][0]["remedy"]
            assert await counted(client) == (0, 0)


@pytest.mark.parametrize(
    ("headers", "status", "name", "field_name"),
    [
        ({"Content-Encoding": "gzip"}, 415, "unsupported-body", "Content-Encoding"),
        ({"Content-Digest": "sha-256=:AAAA:"}, 422, "invalid-input", "Content-Digest"),
        ({"Content-Digest": "md5=:AAAA:"}, 422, "invalid-input", "Content-Digest"),
        (
            {"Content-Digest": f"sha-256=:{'A' * 43}=:"},
            422,
            "digest-mismatch",
            "Content-Digest",
        ),
        ({"Idempotency-Key": "\t"}, 422, "invalid-input", "Idempotency-Key"),
        ({"Idempotency-Key": "k" * 256}, 422, "invalid-input", "Idempotency-Key"),
    ],
)
async def test_a_hostile_header_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, headers: dict[str, str], status: int, name: str, field_name: str
) -> None:
    response = await client.post("/files/upload/image", files={"file": IMAGE}, headers=headers)
    assert fields_of(problem(response, status, name)) == [field_name]
    assert await counted(client) == (0, 0)


@pytest.mark.parametrize(
    ("path", "status", "name", "fields"),
    [
        ("/files/../content", 404, "no-such-resource", []),
        ("/files/%2e%2e/content", 422, "invalid-input", ["file_id"]),
        ("/files/V001~image/content", 422, "invalid-input", ["file_id"]),
        ("/files/a%00b/content", 422, "invalid-input", ["file_id"]),
        ("/files/a%2fb/content", 404, "no-such-resource", []),
        ("/files/" + "x" * 10_000 + "/content", 422, "invalid-input", ["file_id"]),
        ("/files/a%e2%80%aeb/content", 422, "invalid-input", ["file_id"]),
        ("/files/a/content?lane=2", 422, "invalid-input", ["lane"]),
        ("/files/a/content?metadata=x", 422, "invalid-input", ["metadata"]),
        ("/files/a/content?device_id=a&device_id=b", 422, "invalid-input", ["device_id"]),
    ],
)
async def test_a_hostile_put_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, path: str, status: int, name: str, fields: list[str]
) -> None:
    response = await client.put(path, content=JPEG)
    assert fields_of(problem(response, status, name)) == fields
    assert await counted(client) == (0, 0)


@pytest.mark.parametrize(
    ("content", "headers", "status", "name", "field_name"),
    [
        (b"", {}, 422, "invalid-input", "body"),
        (b"", {"Content-Type": "image/jpeg"}, 422, "invalid-input", "body"),
        (JPEG[:50_000], {"Content-Type": "image/jpeg"}, 422, "undecodable-media", "body"),
        (JPEG, {"Content-Type": "image/png"}, 415, "unsupported-media", "body"),
        (b"\0" * 2 * MIB, {"Content-Type": "image/png"}, 413, "too-large", "body"),
        (
            JPEG,
            {"Content-Digest": f"sha-256=:{'A' * 43}=:"},
            422,
            "digest-mismatch",
            "sha256",
        ),
    ],
)
async def test_hostile_raw_bytes_are_refused_and_leave_nothing(
    client: httpx.AsyncClient,
    content: bytes,
    headers: dict[str, str],
    status: int,
    name: str,
    field_name: str,
) -> None:
    response = await client.put("/files/a/content", content=content, headers=headers)
    assert fields_of(problem(response, status, name)) == [field_name]
    assert await counted(client) == (0, 0)


async def test_a_body_that_is_too_large_and_unannounced_is_cut(
    client: httpx.AsyncClient,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        while sent < 64 * MIB:
            sent += MIB // 4
            yield b"\xff" * (MIB // 4)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = await client.post("/files/upload/image", content=endless(), headers=headers)
    assert fields_of(problem(response, 413, "too-large")) == ["file"]
    response = await client.put("/files/a/content", content=endless())
    assert response.status_code in {413, 415}
    # What the connection still takes in order to hear the answer is bounded, too.
    assert sent <= 24 * MIB
    assert await counted(client) == (0, 0)
