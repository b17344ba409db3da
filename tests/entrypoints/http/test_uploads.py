"""Evidence goes in."""

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest

from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, fields_of, problem, video
from tests.support import media

JPEG = IMAGE[1]
SHA256 = hashlib.sha256(JPEG).hexdigest()


def content_digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def test_an_image_is_stored_byte_for_byte_and_described(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/files/upload/image",
        files={"file": IMAGE},
        data={
            "file_id": "detection_001",
            "device_id": "cam_001",
            "violation_id": "V009",
            "metadata": '{"timestamp": "2025-11-01T10:00:00", "lane": 2}',
        },
    )
    assert response.status_code == 201
    assert response.headers["location"] == "/files/detection_001"
    stored = response.json()
    assert stored["sha256"] == SHA256
    assert stored["size_bytes"] == len(JPEG)
    assert (stored["kind"], stored["content_type"]) == ("image", "image/jpeg")
    assert (stored["device_id"], stored["violation_id"]) == ("cam_001", "V009")
    assert stored["captured_at"] == "2025-11-01T10:00:00+00:00"
    assert stored["metadata"]["lane"] == 2
    assert (stored["width"], stored["height"], stored["channels"]) == (640, 427, 3)
    assert (await client.get("/files/detection_001")).content == JPEG


async def test_a_retry_finds_the_first_result(client: httpx.AsyncClient) -> None:
    sent: dict[str, Any] = {"files": {"file": IMAGE}, "data": {"device_id": "cam_001"}}
    first = await client.post("/files/upload/image", **sent)
    second = await client.post("/files/upload/image", **sent)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert await counted(client) == (1, 0)


async def test_integers_of_any_length_come_back_as_they_were(client: httpx.AsyncClient) -> None:
    long = 2**64 + 1
    record = {
        **RECORD,
        "vehicle_bbox": f"[1,2,3,{long}]",
        "camera_info": f'{{"serial": {long}, "place": "Köln"}}',
    }
    for status in (201, 200):
        response = await client.post("/violations", files={"image_file": IMAGE}, data=record)
        assert response.status_code == status
    response = await client.post(
        "/files/upload/image",
        files={"file": IMAGE},
        data={"violation_id": "V001", "metadata": f'{{"serial": {long}}}'},
    )
    assert response.json()["metadata"] == {"serial": long}
    for path in ("/violations", "/violations/V001"):
        answer = (await client.get(path)).json()
        violation = answer["violations"][0] if "violations" in answer else answer["violation"]
        assert violation["camera_info"] == {"serial": long, "place": "Köln"}
        assert violation["vehicle_bbox"] == [1, 2, 3, long]


async def test_the_order_of_the_fields_is_free(client: httpx.AsyncClient) -> None:
    boundary = "frontier"
    fields = [
        b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + JPEG,
        b'Content-Disposition: form-data; name="file_id"\r\n\r\nfree',
        b'Content-Disposition: form-data; name="device_id"\r\n\r\ncam_001',
    ]
    statuses = []
    for order in (fields, fields[::-1]):
        body = b"".join(b"--frontier\r\n" + part + b"\r\n" for part in order) + b"--frontier--\r\n"
        response = await client.post(
            "/files/upload/image",
            content=body,
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        statuses.append(response.status_code)
        assert response.json()["device_id"] == "cam_001"
    assert statuses == [201, 200]


async def test_a_video_is_stored_with_its_duration(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/files/upload/video",
        files={"file": video()},
        data={"file_id": "segment_001", "duration_seconds": "1.2"},
    )
    assert response.status_code == 201
    assert response.json()["duration_seconds"] == 1.2
    assert response.json()["content_type"] == "video/mp4"
    assert (await client.get("/files/segment_001")).content == video()[1]


async def test_a_file_without_a_declared_type_is_looked_at(client: httpx.AsyncClient) -> None:
    for kind in ("application/octet-stream", ""):
        response = await client.post(
            "/files/upload/image", files={"file": ("x", JPEG, kind)}, data={"file_id": "sniffed"}
        )
        assert response.status_code in {200, 201}
        assert response.json()["content_type"] == "image/jpeg"


async def test_other_content_under_an_id_is_a_conflict(client: httpx.AsyncClient) -> None:
    await client.post("/files/upload/image", files={"file": IMAGE}, data={"file_id": "a"})
    other = ("b.png", media.encoded("camera", "PNG"), "image/png")
    response = await client.post(
        "/files/upload/image", files={"file": other}, data={"file_id": "a"}
    )
    document = problem(response, 409, "conflict")
    assert "SHA-256" in document["detail"]
    assert document["remedy"]
    assert (await client.get("/files/a")).content == JPEG


async def test_a_violation_comes_with_its_files(client: httpx.AsyncClient) -> None:
    files = {"image_file": IMAGE, "video_file": video()}
    data = {
        **RECORD,
        "camera_info": '{"location": "Main St"}',
        "model_versions": '{"detector": "yolov8"}',
    }
    first = await client.post("/violations", files=files, data=data)
    assert first.status_code == 201
    assert first.headers["location"] == "/violations/V001"
    answer = first.json()
    assert set(answer["files"]) == {"image", "video", "metadata"}
    assert answer["violation"]["image_path"] == "V001~image"
    assert answer["violation"]["camera_info"] == {"location": "Main St"}
    assert not answer["violation"]["incomplete"]
    assert (await client.post("/violations", files=files, data=data)).status_code == 200
    assert (await client.get("/files/V001~video")).content == video()[1]
    document = json.loads((await client.get("/files/V001~metadata")).content)
    assert document["files"]["image"]["sha256"] == SHA256


async def test_a_violation_without_an_image_is_incomplete_until_it_comes(
    client: httpx.AsyncClient,
) -> None:
    # httpx builds multipart only where there is a file.
    first = await client.post("/violations", files={"vehicle_class": (None, "car")}, data=_but())
    assert first.status_code == 201
    assert first.json()["violation"]["incomplete"]
    assert set(first.json()["files"]) == {"metadata"}
    second = await client.post("/violations", files={"image_file": IMAGE}, data=RECORD)
    assert not second.json()["violation"]["incomplete"]
    assert await counted(client) == (2, 1)


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        ({"image_sha256": SHA256}, ["image_file"]),
        ({"video_sha256": SHA256}, ["video_file"]),
        ({"duration_seconds": "1.5"}, ["video_file"]),
        ({"image_sha256": SHA256, "video_sha256": SHA256}, ["image_file", "video_file"]),
    ],
)
async def test_what_is_said_of_a_file_without_the_file_is_refused(
    client: httpx.AsyncClient, given: dict[str, str], lost: list[str]
) -> None:
    response = await client.post(
        "/violations", files={"vehicle_class": (None, "car")}, data={**_but(), **given}
    )
    document = problem(response, 422, "invalid-input")
    assert fields_of(document) == lost
    assert f"is missing, but {next(iter(given))} is given" in document["errors"][0]["message"]
    assert document["errors"][0]["remedy"] == "send the file"
    assert await counted(client) == (0, 0)


async def test_an_image_has_no_duration(client: httpx.AsyncClient) -> None:
    response = await client.put("/files/a/content?duration_seconds=3", content=JPEG)
    assert fields_of(problem(response, 422, "invalid-input")) == ["duration_seconds"]
    assert await counted(client) == (0, 0)


def _but(name: str = "vehicle_class") -> dict[str, str]:
    return {key: value for key, value in RECORD.items() if key != name}


async def test_a_file_may_name_a_violation_that_comes_later(client: httpx.AsyncClient) -> None:
    await client.post("/files/upload/image", files={"file": IMAGE}, data={"violation_id": "V001"})
    await client.post("/violations", files={"image_file": IMAGE}, data=RECORD)
    found = (await client.get("/violations/V001")).json()
    assert found["violation"]["violation_id"] == "V001"
    ids = [file["file_id"] for file in found["files"]]
    assert len(ids) == 3
    assert {"V001~image", "V001~metadata"} < set(ids)


async def test_a_violation_is_told_with_its_own_files_and_pages_of_the_others(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/violations", files={"image_file": IMAGE}, data=RECORD)
    for number in range(3):
        named = {"violation_id": "V001", "file_id": f"F{number}"}
        await client.post("/files/upload/image", files={"file": IMAGE}, data=named)
    url: str | None = "/violations/V001?limit=2"
    pages: list[list[str]] = []
    while url:
        page = await client.get(url)
        assert page.json()["violation"]["violation_id"] == "V001"
        pages.append([file["file_id"] for file in page.json()["files"]])
        url = page.links["next"]["url"] if "next" in page.links else None
        assert (url is None) is (page.json()["next_cursor"] is None)
    assert pages[0][:2] == ["V001~image", "V001~metadata"]
    assert [file for names in pages for file in names][2:] == ["F2", "F1", "F0"]
    assert len(pages) > 1
    for wrong in ("limit=0", "limit=1001", "cursor=x"):
        problem(await client.get(f"/violations/V001?{wrong}"), 422, "invalid-input")


async def test_violations_are_found_page_by_page(client: httpx.AsyncClient) -> None:
    for number in range(5):
        data = {
            **RECORD,
            "violation_id": f"V{number}",
            "timestamp": f"2025-11-01T10:00:0{number}",
            "confidence": str(number / 4),
            "vehicle_class": "car" if number % 2 else "lorry",
        }
        assert (
            await client.post("/violations", files={"image_file": IMAGE}, data=data)
        ).status_code == 201
    seen: list[str] = []
    url: str | None = "/violations?device_id=cam_001&limit=2"
    while url:
        page = await client.get(url)
        answer = page.json()
        assert answer["count"] == len(answer["violations"])
        seen += [violation["violation_id"] for violation in answer["violations"]]
        url = page.links["next"]["url"] if "next" in page.links else None
        assert (url is None) is (answer["next_cursor"] is None)
    assert seen == ["V4", "V3", "V2", "V1", "V0"]

    async def found(**query: str) -> list[str]:
        answer = (await client.get("/violations", params=query)).json()
        return [violation["violation_id"] for violation in answer["violations"]]

    assert await found(vehicle_class="car") == ["V3", "V1"]
    assert await found(min_confidence="0.5") == ["V4", "V3", "V2"]
    assert await found(max_confidence="0.25") == ["V1", "V0"]
    assert await found(start_date="2025-11-01T10:00:01", end_date="2025-11-01T10:00:03Z") == [
        "V2",
        "V1",
    ]
    assert await found(violation_type="red_light") == []


class TestIdempotencyKey:
    async def test_a_key_stands_for_an_id(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "5f1a"}
        data = {"device_id": "a", "metadata": '{"lane": 2, "timestamp": "2025-11-01T10:00:00"}'}
        sent: dict[str, Any] = {"files": {"file": IMAGE}, "data": data, "headers": headers}
        first = await client.post("/files/upload/image", **sent)
        again = await client.post("/files/upload/image", **sent)
        other = await client.post(
            "/files/upload/image", **{**sent, "headers": {"Idempotency-Key": "5f1b"}}
        )
        assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
        assert first.json()["file_id"] == again.json()["file_id"] != other.json()["file_id"]

    @pytest.mark.parametrize(
        ("kind", "attributes", "other_field"),
        [
            ("image", {"device_id": "b"}, "device_id"),
            ("image", {}, "device_id"),
            ("image", {"device_id": "a", "violation_id": "V002"}, "violation_id"),
            ("image", {"device_id": "a", "metadata": '{"lane": 3}'}, "metadata"),
            ("video", {"device_id": "a", "duration_seconds": "1.2"}, "duration_seconds"),
        ],
    )
    async def test_the_same_bytes_with_other_labels_are_refused(
        self, client: httpx.AsyncClient, kind: str, attributes: dict[str, str], other_field: str
    ) -> None:
        sent: dict[str, Any] = {
            "files": {"file": IMAGE if kind == "image" else video()},
            "headers": {"Idempotency-Key": "5f1a"},
        }
        url = f"/files/upload/{kind}"
        first = await client.post(url, data={"device_id": "a"}, **sent)
        other = await client.post(url, data=attributes, **sent)
        document = problem(other, 422, "idempotency-key-reused")
        assert f"with other labels: {other_field}" in document["detail"]
        assert (await client.post(url, data={"device_id": "a"}, **sent)).json() == first.json()
        assert await counted(client) == (1, 0)

    async def test_a_key_adds_no_label_to_its_file(self, client: httpx.AsyncClient) -> None:
        sent: dict[str, Any] = {
            "files": {"file": IMAGE},
            "headers": {"Idempotency-Key": "5f1a"},
        }
        first = await client.post("/files/upload/image", **sent)
        more = {"violation_id": "V001"}
        other = await client.post("/files/upload/image", data=more, **sent)
        assert "violation_id" in problem(other, 422, "idempotency-key-reused")["detail"]
        assert (await client.post("/files/upload/image", **sent)).json() == first.json()

    async def test_two_keys_are_none(self, client: httpx.AsyncClient) -> None:
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        for url, files, data in (
            ("/files/upload/image", {"file": IMAGE}, {}),
            ("/violations", {"image_file": IMAGE}, RECORD),
        ):
            response = await client.post(url, files=files, data=data, headers=headers)
            assert fields_of(problem(response, 422, "invalid-input")) == ["Idempotency-Key"]
        assert await counted(client) == (0, 0)

    async def test_a_violation_goes_by_its_own_id(self, client: httpx.AsyncClient) -> None:
        sent: dict[str, Any] = {
            "files": {"image_file": IMAGE},
            "headers": {"Idempotency-Key": "5f1a"},
        }
        first = await client.post("/violations", data=RECORD, **sent)
        again = await client.post("/violations", data=RECORD, **sent)
        assert (first.status_code, again.status_code) == (201, 200)
        other = await client.post("/violations", data={**RECORD, "confidence": "0.1"}, **sent)
        assert "V001" in problem(other, 409, "conflict")["detail"]
        next_one = await client.post("/violations", data={**RECORD, "violation_id": "V2"}, **sent)
        assert next_one.status_code == 201

    async def test_other_content_under_it_is_refused(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "5f1a"}
        await client.post("/files/upload/image", files={"file": IMAGE}, headers=headers)
        other = ("b.png", media.encoded("camera", "PNG"), "image/png")
        response = await client.post("/files/upload/image", files={"file": other}, headers=headers)
        detail = problem(response, 422, "idempotency-key-reused")["detail"]
        assert "Idempotency-Key '5f1a'" in detail
        assert await counted(client) == (1, 0)

    async def test_with_a_file_id_the_id_decides(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "5f1a"}
        response = await client.post(
            "/files/upload/image", files={"file": IMAGE}, data={"file_id": "mine"}, headers=headers
        )
        assert response.json()["file_id"] == "mine"
        other = ("b.png", media.encoded("camera", "PNG"), "image/png")
        response = await client.post(
            "/files/upload/image", files={"file": other}, data={"file_id": "mine"}, headers=headers
        )
        problem(response, 409, "conflict")

    async def test_naming_the_derived_id_is_the_same_request(
        self, client: httpx.AsyncClient
    ) -> None:
        data = {"device_id": "a", "metadata": '{"lane": 2, "place": "é"}'}

        async def post(key: str = "5f1a", **more: str) -> httpx.Response:
            return await client.post(
                "/files/upload/image",
                files={"file": IMAGE},
                data={**data, **more},
                headers={"Idempotency-Key": key},
            )

        first = await post()
        file_id = first.json()["file_id"]
        for again in (
            await post(file_id=file_id),
            await post(file_id=file_id.upper()),
            await post(file_id="", violation_id=""),
            await post('"5f1a"', file_id=file_id),
            await post(metadata='{"place": "\\u00e9",\n"lane":2}', file_id=file_id),
        ):
            assert (again.status_code, again.json()) == (200, first.json())
        other = await post(file_id=file_id, device_id="")
        assert "device_id" in problem(other, 422, "idempotency-key-reused")["detail"]
        assert await counted(client) == (1, 0)

    async def test_with_the_derived_id_other_content_is_refused_as_without(
        self, client: httpx.AsyncClient
    ) -> None:
        headers = {"Idempotency-Key": "5f1a"}
        url = "/files/upload/metadata"
        first = await client.post(url, json={"lane": 1}, headers=headers)
        file_id = first.json()["file_id"]
        for params in ({}, {"file_id": file_id}):
            other = await client.post(url, json={"lane": 2}, headers=headers, params=params)
            problem(other, 422, "idempotency-key-reused")
        retry = await client.post(
            url, json={"lane": 1}, headers=headers, params={"file_id": file_id}
        )
        assert (retry.status_code, retry.json()) == (200, first.json())

    async def test_a_used_key_with_another_file_id_is_another_request(
        self, client: httpx.AsyncClient
    ) -> None:
        for kind, file in (("image", IMAGE), ("video", video())):
            sent: dict[str, Any] = {"files": {"file": file}, "headers": {"Idempotency-Key": "5f1a"}}
            url = f"/files/upload/{kind}"
            first = (await client.post(url, **sent)).json()["file_id"]
            other = await client.post(url, data={"file_id": "mine"}, **sent)
            detail = problem(other, 422, "idempotency-key-reused")["detail"]
            assert f"file_id is {first!r}, not 'mine'" in detail
        assert await counted(client) == (2, 0)

    async def test_it_is_one_for_images_and_another_for_videos(
        self, client: httpx.AsyncClient
    ) -> None:
        headers = {"Idempotency-Key": "5f1a"}
        for path, file in (("image", IMAGE), ("video", video())):
            response = await client.post(
                f"/files/upload/{path}", files={"file": file}, headers=headers
            )
            assert response.status_code == 201


class TestDeclaredDigests:
    async def test_of_the_file_as_a_field(self, client: httpx.AsyncClient) -> None:
        for digest in (SHA256, SHA256.upper()):
            response = await client.post(
                "/files/upload/image", files={"file": IMAGE}, data={"sha256": digest}
            )
            assert response.status_code in {200, 201}

    async def test_of_the_whole_body_as_a_header(self, client: httpx.AsyncClient) -> None:
        request = client.build_request("POST", "/files/upload/image", files={"file": IMAGE})
        body = await request.aread()
        request.headers["Content-Digest"] = content_digest(body)
        assert (await client.send(request)).status_code == 201

    async def test_of_the_only_file_as_a_header(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            "/files/upload/image",
            files={"file": IMAGE},
            headers={"Content-Digest": content_digest(JPEG)},
        )
        assert response.status_code == 201

    async def test_of_a_part_as_its_header(self, client: httpx.AsyncClient) -> None:
        good, bad = ({"Content-Digest": content_digest(data)} for data in (JPEG, b"other"))
        response = await client.post(
            "/violations", files={"image_file": (*IMAGE, bad)}, data=RECORD
        )
        problem(response, 422, "digest-mismatch")
        response = await client.post(
            "/violations", files={"image_file": (*IMAGE, good)}, data=RECORD
        )
        assert response.status_code == 201

    @pytest.mark.parametrize("name", ["image_sha256", "video_sha256"])
    async def test_of_each_file_of_a_violation(self, client: httpx.AsyncClient, name: str) -> None:
        files = {"image_file": IMAGE, "video_file": video()}
        response = await client.post(
            "/violations", files=files, data={**RECORD, name: hashlib.sha256(b"x").hexdigest()}
        )
        problem(response, 422, "digest-mismatch")
        assert await counted(client) == (0, 0)

    async def test_two_that_contradict_each_other(self, client: httpx.AsyncClient) -> None:
        headers = {"Content-Digest": content_digest(JPEG)}
        response = await client.post(
            "/files/upload/image",
            files={"file": (*IMAGE, headers)},
            data={"sha256": hashlib.sha256(b"x").hexdigest()},
        )
        assert fields_of(problem(response, 422, "digest-mismatch")) == ["file"]


class TestRawContent:
    async def test_an_image(self, client: httpx.AsyncClient) -> None:
        response = await client.put(
            "/files/cam_001-42/content",
            params={"device_id": "cam_001", "violation_id": "V1", "metadata": '{"lane": 1}'},
            content=JPEG,
            headers={"Content-Type": "image/jpeg", "Content-Digest": content_digest(JPEG)},
        )
        assert response.status_code == 201
        assert response.headers["location"] == "/files/cam_001-42"
        stored = response.json()
        assert (stored["file_id"], stored["kind"]) == ("cam_001-42", "image")
        assert (stored["device_id"], stored["metadata"]) == ("cam_001", {"lane": 1})

    async def test_a_video_in_chunks(self, client: httpx.AsyncClient) -> None:
        async def chunks() -> Any:
            data = video()[1]
            for start in range(0, len(data), 1000):
                yield data[start : start + 1000]

        response = await client.put(
            "/files/seg/content?duration_seconds=0.4",
            content=chunks(),
            headers={"Content-Type": "video/mp4", "Repr-Digest": content_digest(video()[1])},
        )
        assert response.status_code == 201
        assert (response.json()["kind"], response.json()["duration_seconds"]) == ("video", 0.4)

    @pytest.mark.parametrize("declared", ["application/octet-stream", ""])
    async def test_what_says_nothing_is_looked_at(
        self, client: httpx.AsyncClient, declared: str
    ) -> None:
        for name, data in (("image", JPEG), ("video", video()[1])):
            response = await client.put(
                f"/files/{name}/content", content=data, headers={"Content-Type": declared}
            )
            assert response.status_code == 201
            assert response.json()["kind"] == name

    @pytest.mark.parametrize(
        "data", [b"II*\0" + bytes(40), b"GIF89a" + bytes(40), b"\0\0\0\x14ftypheic" + bytes(8)]
    )
    async def test_a_picture_of_another_format_is_refused_as_a_picture(
        self, client: httpx.AsyncClient, data: bytes
    ) -> None:
        response = await client.put(
            "/files/a/content", content=data, headers={"Content-Type": "application/octet-stream"}
        )
        remedy = problem(response, 415, "unsupported-media")["remedy"]
        assert remedy.startswith("send JPEG, PNG, WebP, AVIF or BMP")

    async def test_a_type_guessed_from_the_extension_is_no_declaration(
        self, client: httpx.AsyncClient
    ) -> None:
        mpeg_ts = media.video("ts")
        for number, (data, declared) in enumerate(
            [
                (mpeg_ts, "text/vnd.trolltech.linguist"),
                (mpeg_ts, "model/vnd.mts"),
                (JPEG, "image/*"),
            ]
        ):
            response = await client.put(
                f"/files/{number}/content", content=data, headers={"Content-Type": declared}
            )
            assert response.status_code == 201

    async def test_a_retry_and_a_conflict(self, client: httpx.AsyncClient) -> None:
        for status in (201, 200):
            assert (await client.put("/files/a/content", content=JPEG)).status_code == status
        other = media.encoded("camera", "PNG")
        problem(await client.put("/files/a/content", content=other), 409, "conflict")

    async def test_of_another_type_is_refused(self, client: httpx.AsyncClient) -> None:
        for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
            response = await client.put(
                "/files/a/content", content=JPEG, headers={"Content-Type": kind}
            )
            assert fields_of(problem(response, 415, "unsupported-media")) == ["Content-Type"]


async def test_fields_that_a_browser_sends_blank_count_as_left_out(
    client: httpx.AsyncClient,
) -> None:
    record = {**RECORD, "camera_info": "", "processing_time_ms": "", "video_sha256": ""}
    body = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (name.encode(), text.encode())
        for name, text in record.items()
    )
    body += b'--B\r\nContent-Disposition: form-data; name="video_file"; filename=""\r\n'
    body += b"Content-Type: application/octet-stream\r\n\r\n\r\n--B--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}

    stored = await client.post("/violations", content=body, headers=kind)

    assert stored.status_code == 201, stored.text
    for name in ("violation_id", "confidence"):
        old = b'name="%s"\r\n\r\n%s' % (name.encode(), record[name].encode())
        assert old in body
        wrong = body.replace(old, b'name="%s"\r\n\r\n' % name.encode())
        answer = await client.post("/violations", content=wrong, headers=kind)
        assert answer.status_code == 422
        assert name in answer.json()["detail"]
    named = body.replace(b'filename=""', b'filename="a.mp4"')
    assert (await client.post("/violations", content=named, headers=kind)).status_code == 422


class TestLabels:
    """Of a file that is stored: those that it lacks are added, with status 200."""

    @pytest.mark.parametrize("way", ["form", "body"])
    async def test_those_that_it_lacks_are_added(self, client: httpx.AsyncClient, way: str) -> None:
        async def store(**labels: str) -> httpx.Response:
            if way == "form":
                data = {"file_id": "F1", **labels}
                return await client.post("/files/upload/image", files={"file": IMAGE}, data=data)
            return await client.put("/files/F1/content", content=IMAGE[1], params=labels)

        first = await store()
        assert (await client.post("/violations", json=RECORD)).status_code == 201
        added = await store(violation_id="V001")
        again = await store(violation_id="V001")
        assert [one.status_code for one in (first, added, again)] == [201, 200, 200]
        assert added.json()["labels_added"] == ["violation_id"]
        assert again.json() == {k: v for k, v in added.json().items() if k != "labels_added"}
        shown = (await client.get("/violations/V001")).json()
        assert "F1" in [file["file_id"] for file in shown["files"]]
        other = await store(violation_id="V002")
        assert "violation_id" in problem(other, 409, "conflict")["detail"]
