"""Every error is a problem document."""

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from tests.entrypoints.http.evidence import fields_of, problem
from traffic_storage.domain import errors as domain_errors
from traffic_storage.domain.errors import (
    NotFound,
    StorageUnavailable,
    TrafficStorageError,
    WrongFields,
)
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.http import errors as http_errors
from traffic_storage.entrypoints.http import public, requires
from traffic_storage.entrypoints.http.problems import INTERNAL, TYPES, problem_of, problem_type
from traffic_storage.ports import errors as port_errors

# Raised by bugs and lost races inside; never on purpose to a caller, so they show nothing.
INWARD = {
    "TrafficStorageError",
    "ConfigurationError",
    "WrongFields",
    "Refused",
    "BlobMissing",
    "BlobCorrupt",
    "BlobConflict",
    "IdsTaken",
    "KeyTaken",
    "LeaseLost",
    "ClientGone",
}


def known_errors() -> list[type[TrafficStorageError]]:
    found = {
        value
        for module in (domain_errors, port_errors, http_errors)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, TrafficStorageError)
    }
    return sorted(found, key=lambda error: error.__name__)


@pytest.mark.parametrize("error", known_errors(), ids=lambda error: error.__name__)
def test_every_error_of_the_tree_has_a_place_in_the_table(
    error: type[TrafficStorageError],
) -> None:
    found = next(TYPES[parent] for parent in error.__mro__ if parent in TYPES)
    assert (found is INTERNAL) is (error.__name__ in INWARD)


def test_names_and_statuses_are_sound() -> None:
    by_name = {kind.name: kind for kind in TYPES.values()}
    assert len(by_name) == len(set(TYPES.values()))
    assert all(400 <= kind.status < 600 for kind in TYPES.values())


def test_what_nobody_raised_on_purpose_shows_nothing() -> None:
    for error in (RuntimeError("password=hunter2"), port_errors.BlobConflict("/secret/path")):
        found = problem_of(error, "r1")
        assert found.type is INTERNAL
        assert b"hunter2" not in found.body
        assert b"secret" not in found.body


def test_a_lone_surrogate_in_a_message_is_still_a_document() -> None:
    assert problem_of(NotFound("file", "\ud800"), "r1").body


def test_a_service_that_is_away_says_when_to_come_back() -> None:
    error = StorageUnavailable("s3 is away", retry_after_seconds=7)
    assert (b"retry-after", b"7") in problem_of(error, "r1").headers
    assert (b"retry-after", b"5") in problem_of(port_errors.DeadlinePassed("late"), "r1").headers


def test_a_subclass_that_nobody_named_is_its_parent() -> None:
    class Special(WrongFields):
        pass

    assert problem_type(Special.of("a", "b")) is INTERNAL
    assert problem_type(port_errors.CatalogueUnavailable("away")).status == 503


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    for path in (
        "/nothing",
        "/files/",
        "/files/a/b",
        "/files/a%2Fb",
        "/files/x/url/",
    ):
        document = problem(await client.get(path), 404, "no-such-resource")
        assert "/docs" in document["remedy"]
    response = await client.patch("/files/x")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "DELETE, GET, HEAD"
    response = await client.patch("/violations")
    assert response.headers["allow"] == "GET, HEAD, POST"


async def test_the_root_leads_to_the_documentation(app: FastAPI, client: httpx.AsyncClient) -> None:
    for method in ("GET", "HEAD"):
        response = await client.request(method, "/")
        assert (response.status_code, response.headers["location"]) == (307, "/docs")
    assert (await client.get("/", follow_redirects=True)).headers["content-type"].startswith("text")
    problem(await client.post("/"), 404, "no-such-resource")
    problem(await client.get("/", headers={"Host": "far.example.org"}), 403, "local-use-only")

    @app.get("/")
    @public
    async def mine() -> str:
        return "an embedder's"

    assert (await client.get("/")).json() == "an embedder's"


async def test_nothing_else_is_redirected(client: httpx.AsyncClient) -> None:
    assert (await client.get("/violations/")).status_code == 404
    assert (await client.get("/healthz/")).status_code == 404


async def test_queries_name_what_is_wrong(client: httpx.AsyncClient) -> None:
    wrong = {
        "limit": "0",
        "start_date": "soon",
        "min_confidence": "7",
        "cursor": "?",
        "device_id": "",
    }
    response = await client.get("/violations", params=wrong)
    assert sorted(fields_of(problem(response, 422, "invalid-input"))) == sorted(wrong)
    document = problem(await client.get("/violations?start_dat=2025"), 422, "invalid-input")
    assert document["errors"][0]["remedy"] == "did you mean start_date?"
    response = await client.get("/violations?limit=1&limit=2")
    assert fields_of(problem(response, 422, "invalid-input")) == ["limit"]
    response = await client.get("/storage/stats?verbose=1")
    assert fields_of(problem(response, 422, "invalid-input")) == ["verbose"]


async def test_a_query_that_is_no_utf_8_is_malformed(client: httpx.AsyncClient) -> None:
    problem(await client.get("/violations?device_id=%ff"), 400, "bad-request")
    problem(await client.get("/violations?" + "a=1&" * 200), 400, "bad-request")


async def test_an_embedders_own_routes_get_problems_too(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.get("/own/{number}")
    @requires(Scope.EVIDENCE_READ)
    async def own(number: int) -> dict[str, int]:
        if number == 1:
            raise HTTPException(418, "no coffee here")
        if number == 2:
            raise NotFound("coffee", "2")
        if number == 4:
            raise HTTPException(404, "no such coffee", {"X-Coffee": "none"})
        if number == 3:
            raise RuntimeError("password=hunter2")
        return {"number": number}

    assert (await client.get("/own/0")).json() == {"number": 0}
    assert "/own/{number}" in app.openapi()["paths"]
    assert "/files/{file_id}" in app.openapi()["paths"]
    assert (await client.get("/openapi.json")).json() == app.openapi()
    assert problem(await client.get("/own/1"), 418, "refused")["detail"] == "no coffee here"
    problem(await client.get("/own/2"), 404, "not-found")
    response = await client.get("/own/4")
    assert problem(response, 404, "refused")["detail"] == "no such coffee"
    assert response.headers["x-coffee"] == "none"
    document = problem(await client.get("/own/3"), 500, "internal-error")
    assert "hunter2" not in str(document)
    assert fields_of(problem(await client.get("/own/x"), 422, "invalid-input")) == ["number"]
