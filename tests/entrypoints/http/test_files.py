"""Files are found and described; JSON is taken as it is; names and times of origin are kept."""

import hashlib
import json
from typing import Any

import httpx
import pytest

from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, fields_of, problem, video

DOCUMENT = {"vehicles": 7, "classes": ["car", "lorry"]}


async def upload(client: httpx.AsyncClient, name: str = "evidence.jpg", **texts: str) -> Any:
    response = await client.post(
        "/files/upload/image", files={"file": (name, *IMAGE[1:])}, data=texts
    )
    assert response.status_code == 201, response.text
    return response.json()


class TestFinding:
    async def test_files_are_found_by_pages(self, client: httpx.AsyncClient) -> None:
        for number in range(5):
            await upload(client, file_id=f"f{number}", device_id="cam_001")
        await upload(client, file_id="other", device_id="cam_002")
        seen: list[str] = []
        url: str | None = "/files?device_id=cam_001&limit=2"
        while url:
            page = await client.get(url)
            answer = page.json()
            assert answer["count"] == len(answer["files"])
            seen += [file["file_id"] for file in answer["files"]]
            url = page.links["next"]["url"] if "next" in page.links else None
            assert (url is None) is (answer["next_cursor"] is None)
        assert sorted(seen) == [f"f{number}" for number in range(5)]

    async def test_filters_are_joined(self, client: httpx.AsyncClient) -> None:
        await client.post(
            "/violations", files={"image_file": IMAGE, "video_file": video()}, data=RECORD
        )
        stored = await upload(client, file_id="later", violation_id="V001", device_id="cam_002")

        async def found(**query: str) -> list[str]:
            answer = (await client.get("/files", params=query)).json()
            return sorted(file["file_id"] for file in answer["files"])

        assert len(await found()) == 4
        assert await found(kind="image") == ["V001~image", "later"]
        assert await found(kind="video", violation_id="V001") == ["V001~video"]
        assert await found(violation_id="V001", device_id="cam_002") == ["later"]
        assert await found(end_date=stored["created_at"]) == []
        assert len(await found(start_date=stored["created_at"])) == 4
        assert await found(state="tombstoned") == []

    async def test_wrong_filters_are_named_at_once(self, client: httpx.AsyncClient) -> None:
        wrong = {
            "kind": "picture",
            "state": "lost",
            "violation_id": "..",
            "start_date": "soon",
            "limit": "0",
            "cursor": "?",
        }
        response = await client.get("/files", params=wrong)
        assert sorted(fields_of(problem(response, 422, "invalid-input"))) == sorted(wrong)
        document = problem(await client.get("/files?device=a"), 422, "invalid-input")
        assert document["errors"][0]["remedy"] == "did you mean device_id?"

    async def test_a_file_is_described(self, client: httpx.AsyncClient) -> None:
        stored = await upload(client, file_id="a", device_id="cam_001")
        response = await client.get("/files/a/metadata")
        assert (response.status_code, response.json()) == (200, stored)
        problem(await client.get("/files/b/metadata"), 404, "not-found")
        problem(await client.get("/files/~/metadata"), 422, "invalid-input")
        assert (await client.head("/files/a/metadata")).content == b""


class TestMetadata:
    async def test_a_json_object_is_stored_with_its_attributes(
        self, client: httpx.AsyncClient
    ) -> None:
        body = json.dumps(DOCUMENT, indent=2).encode()
        query = {
            "file_id": "analysis_001",
            "device_id": "cam_001",
            "timestamp": "2025-11-01T10:00:00",
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        headers = {"Content-Type": "application/json; charset=utf-8"}
        first, again = [
            await client.post("/files/upload/metadata", params=query, content=body, headers=headers)
            for _ in range(2)
        ]
        assert (first.status_code, again.status_code) == (201, 200), again.text
        stored = again.json()
        assert (stored["kind"], stored["device_id"]) == ("metadata", "cam_001")
        assert stored["captured_at"] == "2025-11-01T10:00:00+00:00"
        assert (await client.get("/files/analysis_001")).json() == DOCUMENT

    @pytest.mark.parametrize(
        ("query", "content", "headers", "status", "name", "field"),
        [
            ("", b"{}", {"Content-Type": "text/plain"}, 415, "unsupported-body", "Content-Type"),
            ("", b"[1]", {}, 422, "invalid-input", "body"),
            ("", b'{"a": NaN}', {}, 422, "invalid-input", "body"),
            ("", b"\xff", {}, 422, "invalid-input", "body"),
            ("?sha256=" + "ab" * 32, b"{}", {}, 422, "digest-mismatch", "sha256"),
            ("?lane=2", b"{}", {}, 422, "invalid-input", "lane"),
            ("?timestamp=soon", b"{}", {}, 422, "invalid-input", "timestamp"),
            ("?historic=perhaps", b"{}", {}, 422, "invalid-input", "historic"),
        ],
    )
    async def test_what_is_wrong_is_named(
        self,
        client: httpx.AsyncClient,
        query: str,
        content: bytes,
        headers: dict[str, str],
        status: int,
        name: str,
        field: str,
    ) -> None:
        headers = {"Content-Type": "application/json", **headers}
        response = await client.post(
            f"/files/upload/metadata{query}", content=content, headers=headers
        )
        assert fields_of(problem(response, status, name)) == [field]
        assert await counted(client) == (0, 0)

    async def test_a_key_makes_a_retry_safe(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "1"}
        sent: dict[str, Any] = {"headers": headers, "json": DOCUMENT}
        first = await client.post("/files/upload/metadata", **sent)
        again = await client.post("/files/upload/metadata", **sent)
        assert first.json()["file_id"] == again.json()["file_id"]
        other = await client.post("/files/upload/metadata?timestamp=2025-11-01T10:00:00", **sent)
        assert "captured_at" in problem(other, 422, "idempotency-key-reused")["detail"]


JSON_RECORD: dict[str, Any] = {
    **RECORD,
    "vehicle_bbox": [100, 100, 200, 200.5],
    "confidence": 0.95,
    "processing_time_ms": 150,
    "camera_info": {"location": "Main St"},
}


class TestJsonViolation:
    async def test_a_record_without_media_is_json(self, client: httpx.AsyncClient) -> None:
        first, again = [await client.post("/violations", json=JSON_RECORD) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 200), again.text
        violation = again.json()["violation"]
        assert violation["incomplete"]
        assert violation["camera_info"] == {"location": "Main St"}
        assert violation["vehicle_bbox"] == [100, 100, 200, 200.5]
        # The media may follow as a form: it is the same violation.
        form = {
            **RECORD,
            "vehicle_bbox": "[100,100,200,200.5]",
            "camera_info": '{"location": "Main St"}',
        }
        response = await client.post("/violations", files={"image_file": IMAGE}, data=form)
        assert response.status_code in {200, 201}
        assert not response.json()["violation"]["incomplete"]

    async def test_all_wrong_members_are_named_at_once(self, client: httpx.AsyncClient) -> None:
        wrong = {
            **JSON_RECORD,
            "violation_id": 7,
            "timestamp": "yesterday",
            "vehicle_bbox": "nonsense",
            "confidence": True,
            "camera_info": [],
            "device": "cam_001",
        }
        del wrong["vehicle_class"]
        document = problem(await client.post("/violations", json=wrong), 422, "invalid-input")
        assert sorted(fields_of(document)) == [
            "camera_info",
            "confidence",
            "device",
            "timestamp",
            "vehicle_bbox",
            "vehicle_class",
            "violation_id",
        ]
        assert all(error["remedy"] for error in document["errors"])
        assert await counted(client) == (0, 0)


class TestOrigin:
    async def test_a_form_states_when_a_file_was_captured(self, client: httpx.AsyncClient) -> None:
        stored = await upload(client, timestamp="2025-11-01T10:00:00+01:00")
        assert stored["captured_at"] == "2025-11-01T09:00:00+00:00"
        response = await client.post(
            "/files/upload/image",
            files={"file": IMAGE},
            data={
                "timestamp": "2025-11-01T10:00:00",
                "metadata": '{"timestamp": "2025-11-02T10:00:00"}',
            },
        )
        assert fields_of(problem(response, 422, "invalid-input")) == ["metadata.timestamp"]

    async def test_an_old_time_counts_where_it_is_stated_to_be_right(
        self, client: httpx.AsyncClient
    ) -> None:
        old = {"timestamp": "2020-01-01T00:00:00", "file_id": "old"}
        implausible = await upload(client, **{**old, "file_id": "new"})
        stated = await upload(client, **old, historic="true")
        assert implausible["captured_at"] == stated["captured_at"]
        assert stated["expires_at"] < implausible["expires_at"]

    @pytest.mark.parametrize(
        ("sent", "kept", "offered"),
        [
            ("evidence.jpg", "evidence.jpg", 'attachment; filename="evidence.jpg"'),
            (
                "C:\\photos\\Köln 7.jpg",
                "Köln 7.jpg",
                "attachment; filename=\"K_ln_7.jpg\"; filename*=UTF-8''K%C3%B6ln%207.jpg",
            ),
            (
                "../a;b.jpg",
                "a;b.jpg",
                "attachment; filename=\"a_b.jpg\"; filename*=UTF-8''a%3Bb.jpg",
            ),
        ],
    )
    async def test_the_original_name_is_offered_for_download(
        self, client: httpx.AsyncClient, sent: str, kept: str, offered: str
    ) -> None:
        # A part's header is written by hand: clients escape a backslash in different ways.
        head = f'Content-Disposition: form-data; name="file"; filename="{sent}"'.encode()
        body = b"--x\r\n" + head + b"\r\nContent-Type: image/jpeg\r\n\r\n" + IMAGE[1]
        response = await client.post(
            "/files/upload/image",
            content=body + b"\r\n--x--\r\n",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        stored = response.json()
        assert stored["original_name"] == kept
        response = await client.get(f"/files/{stored['file_id']}?download=1")
        assert (response.status_code, response.content) == (200, IMAGE[1])
        assert response.headers["content-disposition"] == offered
        response = await client.get(f"/files/{stored['file_id']}")
        assert response.headers["content-disposition"].startswith("inline; ")

    async def test_a_file_without_a_name_is_offered_under_its_id(
        self, client: httpx.AsyncClient
    ) -> None:
        await client.put("/files/a/content", content=IMAGE[1])
        response = await client.get("/files/a?download=true")
        assert response.headers["content-disposition"] == 'attachment; filename="a.jpg"'
        for query in ("download=perhaps", "dowload=1"):
            problem(await client.get(f"/files/a?{query}"), 422, "invalid-input")
