"""The clients that the tests need anyway; `python -m tests.clients` tries them all."""

import pytest

from tests.clients import __main__ as clients


async def test_curl_resumes_an_interrupted_download() -> None:
    assert await clients.check(["curl"]) == []


async def test_a_client_that_is_not_installed_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert await clients.check(["chromium", "wget"]) == ["chromium", "wget"]
    assert capsys.readouterr().out.count("is not installed") == 2
