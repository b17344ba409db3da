"""What is published is what is served."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import httpx
from fastapi import FastAPI
from starlette.routing import Route

from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

DOCUMENTATION = {"/docs", "/openapi.json"}


def mounted(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that routing knows, without the documentation itself."""
    assert all(isinstance(route, Route) for route in app.routes)
    return {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route) and route.path not in DOCUMENTATION
        for method in route.methods or ()
    }


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
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert "500" in operation["responses"]
            assert ("requestBody" in operation) is (method in {"post", "put"})
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
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name != "style"
            if name in {"href", "src", "action"}:
                self.addresses.append(value or "")
            if name == "id":
                self.anchors.add(value or "")


async def test_the_page_shows_every_operation_and_loads_nothing(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    response = await client.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = Page()
    page.feed(response.text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    ids = {
        operation["operationId"]
        for methods in app.openapi()["paths"].values()
        for method, operation in methods.items()
        if method != "head"
    }
    assert ids <= page.anchors
    assert set(page.addresses) == {"./openapi.json", *(f"#{name}" for name in ids)}


async def test_the_page_keeps_to_its_own_content_policy(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
