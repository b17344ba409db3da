"""What is wrong with a request is told at once, and costs little to find out."""

import json
from threading import current_thread, main_thread
from typing import Any

import httpx
import pytest

from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, fields_of, problem

MISSPELT = {"devise_id": "cam_001", "colour": "red"}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("sent_as", ["data", "json", "multipart"])
async def test_unknown_wrong_and_missing_fields_are_told_together(
    client: httpx.AsyncClient, sent_as: str, first: bool
) -> None:
    known = {**RECORD, "confidence": "1.5", "vehicle_bbox": "[1,2"}
    del known["device_id"]
    fields = {**MISSPELT, **known} if first else {**known, **MISSPELT}
    request: dict[str, Any] = {"json": fields} if sent_as == "json" else {"data": fields}
    if sent_as != "json":
        request["files"] = {"image_file": IMAGE}
    refused = problem(await client.post("/violations", **request), 422, "invalid-input")
    expected = ["colour", "confidence", "device_id", "devise_id", "vehicle_bbox"]
    assert sorted(fields_of(refused)) == expected
    assert await counted(client) == (0, 0)


async def test_a_file_of_an_unknown_name_is_refused_before_its_bytes(
    client: httpx.AsyncClient,
) -> None:
    form = {**RECORD, "colour": "red"}
    refused = await client.post("/violations", data=form, files={"image": IMAGE})
    assert fields_of(problem(refused, 422, "invalid-input")) == ["colour", "image"]


async def test_unknown_fields_are_not_collected_without_end(client: httpx.AsyncClient) -> None:
    form = {f"x{number}": "1" for number in range(1000)}
    answer = await client.post("/violations", data=form, files={"image_file": IMAGE})
    assert len(problem(answer, 422, "invalid-input")["errors"]) < 30


async def test_validating_refuses_unknown_fields_too(client: httpx.AsyncClient) -> None:
    form = {**RECORD, **MISSPELT}
    answer = await client.post("/validate", data=form, files={"image_file": IMAGE})
    assert fields_of(problem(answer, 422, "invalid-input")) == ["devise_id", "colour"]


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("GET", "/violations?devise_id=a&limit=x&cursor=x", {"devise_id", "limit", "cursor"}),
        ("GET", "/files?colour=red&limit=x", {"colour", "limit"}),
        ("GET", "/files/a/url?expires=9&expires_in=x", {"expires", "expires_in"}),
        ("GET", "/violations/V1?colour=red&limit=x", {"colour", "limit"}),
        ("GET", "/jobs?colour=red&state=none", {"colour", "state"}),
        ("GET", "/holds?colour=red&limit=x", {"colour", "limit"}),
        ("GET", "/exports/violations?colour=red&format=docx", {"colour", "format"}),
        ("PUT", "/files/a/content?devise_id=c&timestamp=now", {"devise_id", "timestamp"}),
        ("POST", "/files/upload/metadata?devise_id=c&timestamp=now", {"devise_id", "timestamp"}),
    ],
)
async def test_unknown_and_wrong_fields_of_a_query_are_told_together(
    client: httpx.AsyncClient, method: str, path: str, fields: set[str]
) -> None:
    answer = await client.request(method, path, json=None if method == "GET" else {})
    assert set(fields_of(problem(answer, 422, "invalid-input"))) == fields


DEEP = '{"a":[' + ",".join(["[" * 58 + "]" * 58] * 8900) + "]}"
MANY: dict[str, tuple[str, dict[str, Any]]] = {
    "camera_info": ("/violations", {"data": {**RECORD, "camera_info": DEEP}}),
    "model_versions": (
        "/violations",
        {"data": {**RECORD, "model_versions": "[1," + "1," * 50_000}},
    ),
    "judged camera_info": ("/validate", {"data": {**RECORD, "camera_info": DEEP}}),
    "record": ("/violations", {"content": DEEP}),
    "judged record": ("/validate", {"content": DEEP}),
    "labels": ("/files/upload/image", {"data": {"metadata": DEEP}}),
    "document": ("/files/upload/metadata", {"content": '{"a": [' + "1," * 600_000}),
}


@pytest.mark.parametrize("what", MANY)
async def test_json_of_many_values_is_refused_before_it_is_parsed(
    client: httpx.AsyncClient, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, request = MANY[what]
    if "data" in request:
        request = {**request, "files": {"file" if what == "labels" else "image_file": IMAGE}}
    else:
        request = {**request, "headers": {"Content-Type": "application/json"}}
    parsed: list[int] = []
    parse = json.loads

    def counting(text: str, **options: Any) -> Any:
        parsed.append(len(text))
        return parse(text, **options)

    monkeypatch.setattr(json, "loads", counting)
    answer = await client.post(path, **request)
    assert answer.status_code in {200, 413, 422}
    assert max(parsed, default=0) < 10_000
    assert "values" in answer.text or "bytes" in answer.text


async def test_json_of_64_kib_in_any_spelling_is_accepted(client: httpx.AsyncClient) -> None:
    many = json.dumps({"a": [0] * 32_000})
    escaped = '{"a": "' + "\\u0041" * 65_000 + '"}'
    for number, info in enumerate((many, escaped, json.dumps({"a": "x" * 65_000}))):
        record = {**RECORD, "violation_id": f"V{number}", "camera_info": info}
        answer = await client.post("/violations", data=record, files={"image_file": IMAGE})
        assert answer.status_code == 201, answer.text[:500]


@pytest.mark.parametrize("size", [10, 60_000])
async def test_a_large_document_is_parsed_beside_the_event_loop(
    client: httpx.AsyncClient, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({"a": [[]] * size, "b": [True, None, "ü"]})
    threads: list[bool] = []
    for name in ("loads", "dumps"):
        own = getattr(json, name)

        def noting(value: Any, *, own: Any = own, **options: Any) -> Any:
            if len(str(value)) > 2 * size:
                threads.append(current_thread() is main_thread())
            return own(value, **options)

        monkeypatch.setattr(json, name, noting)
    path, headers = "/files/upload/metadata?file_id=M", {"Content-Type": "application/json"}
    answer = await client.post(path, content=text, headers=headers)
    monkeypatch.undo()
    assert answer.status_code == 201
    assert set(threads) == {size < 1000}
    assert len(threads) == 2
    assert (await client.get("/files/M")).json() == json.loads(text)
