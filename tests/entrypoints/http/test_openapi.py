"""What is published is what is served."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import httpx
from fastapi import FastAPI
from openapi_spec_validator import validate
from starlette.routing import Route

from traffic_storage.domain.identifiers import text_problem
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.http import create_storage_app, requires
from traffic_storage.entrypoints.http.security.access import access_of
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

DOCUMENTATION = {"/docs", "/openapi.json"}


def mounted(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that routing knows, without the documentation itself."""
    return {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route) and route.path not in DOCUMENTATION
        for method in getattr(route, "served_methods", None) or route.methods or ()
    }


def test_every_route_declares_its_access(app: FastAPI) -> None:
    assert all(access_of(route) is not None for route in app.routes)


def test_the_document_lists_every_mounted_route_and_no_other(app: FastAPI) -> None:
    published = {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert published == mounted(app)
    assert len(published) > 15


def test_the_endpoints_of_the_source_are_there(app: FastAPI) -> None:
    assert mounted(app) >= {
        ("POST", "/files/upload/image"),
        ("POST", "/files/upload/video"),
        ("GET", "/files/{file_id}"),
        ("HEAD", "/files/{file_id}"),
        ("GET", "/files/{file_id}/url"),
        ("GET", "/files"),
        ("GET", "/files/{file_id}/metadata"),
        ("POST", "/files/upload/metadata"),
        ("PUT", "/files/{file_id}/content"),
        ("POST", "/violations"),
        ("GET", "/violations"),
        ("GET", "/violations/{violation_id}"),
        ("GET", "/storage/stats"),
        ("GET", "/access/{token}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }


def test_every_operation_says_what_it_takes_and_answers(app: FastAPI) -> None:
    document = app.openapi()
    ids = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            ids.append(operation["operationId"])
            assert operation["summary"]
            named = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert "500" in operation["responses"]
            is_bare = re.search(r"/(cancel|retry|fixity|enter|verify)$", path) is not None
            assert ("requestBody" in operation) is (method in {"post", "put"} and not is_bare)
            assert operation["tags"]
            for status, answer in operation["responses"].items():
                assert answer["description"]
                if method != "head" and status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"]
    assert len(ids) == len(set(ids))


def test_every_reference_has_its_schema(app: FastAPI) -> None:
    document = app.openapi()
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert references == set(document["components"]["schemas"])


def test_no_setting_shows_but_the_public_address(settings: StorageConfig) -> None:
    app = create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings))
    document = str(app.openapi())
    assert settings.url_signing_key
    assert settings.url_signing_key.reveal() not in document
    assert str(settings.local_base_path) not in document


async def test_the_served_document_is_the_same(app: FastAPI, client: httpx.AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json() == app.openapi()


class Page(HTMLParser):
    """What a browser would load, run or go to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name != "style"
            if name in {"href", "src", "action"}:
                self.addresses.append(value or "")


async def test_the_page_loads_files_of_this_service_alone(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = Page()
    page.feed(response.text)
    assert len(page.addresses) == 3
    for address in page.addresses:
        assert "//" not in address
        found = await client.get(f"/{address}")
        assert (found.status_code, len(found.content) > 1000) == (200, True)
        assert found.headers["x-content-type-options"] == "nosniff"
    assert (await client.get("/docs/assets/nothing.js")).status_code == 404


async def test_the_page_keeps_to_its_own_content_policy(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    (script,) = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "<style" not in response.text


def test_the_document_is_valid_openapi(app: FastAPI) -> None:
    validate(app.openapi())


def test_answers_may_grow_and_say_what_they_hold(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    answers = {name: schema for name, schema in schemas.items() if name.endswith("View")}
    assert len(answers) > 10
    assert not any(schema.get("additionalProperties") is False for schema in answers.values())
    file = schemas["StoredFileView"]["properties"]
    assert file["created_at"]["format"] == "date-time"
    assert file["kind"]["enum"] == ["image", "video", "metadata"]
    violation = schemas["ViolationView"]["properties"]
    assert violation["timestamp"]["format"] == "date-time"
    assert schemas["ReplicaView"]["properties"]["state"]["enum"]


def test_every_operation_has_a_tag_and_examples_where_it_takes_fields(app: FastAPI) -> None:
    document = app.openapi()
    known = {tag["name"] for tag in document["tags"]}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert set(operation["tags"]) <= known
            assert operation["description"]
    form = document["components"]["schemas"]["ImageForm"]
    assert form["properties"]["device_id"]["examples"]
    assert "null" not in str(form)
    assert form["additionalProperties"] is False


def test_a_pattern_admits_what_the_server_admits(app: FastAPI) -> None:
    document = app.openapi()
    (device,) = [
        parameter["schema"]
        for parameter in document["paths"]["/violations"]["get"]["parameters"]
        if parameter["name"] == "device_id"
    ]
    for name in ("cam_001", "Köln 7", "камера", "カメラ", "a"):
        assert re.fullmatch(device["pattern"], name), name
        assert text_problem("device_id", name) is None
    for name in ("", " ", "a\0", "a\n"):
        assert not re.fullmatch(device["pattern"], name), name


async def test_an_embedders_route_is_documented_with_its_access(app: FastAPI) -> None:
    @app.get("/own")
    @requires(Scope.METRICS)
    async def own() -> dict[str, int]:
        return {"a": 1}

    assert app.openapi()["paths"]["/own"]["get"]["summary"] == "Own"
