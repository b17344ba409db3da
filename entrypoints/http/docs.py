"""The documentation page: the OpenAPI document as plain HTML, made here.

No script, no font, no address of anybody else; it works under the strictest content policy.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from traffic_storage.entrypoints.http.problems import INTERNAL, TYPES
from traffic_storage.entrypoints.http.request_body import AsgiRequest
from traffic_storage.entrypoints.http.responses import send_whole
from traffic_storage.entrypoints.http.routes import OPENAPI_PATH

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1b1b1b;background:#fff}
h1,h2,h3{line-height:1.2}h2{margin-top:2.5rem;border-top:1px solid #bbb;padding-top:1rem}
code{font:14px/1.4 ui-monospace,monospace;background:#f1f1f1;padding:.1em .3em;border-radius:3px}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;
padding:.3rem .6rem;border-bottom:1px solid #ddd}a{color:#0b57a4}
@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}code{background:#2a2a2a}
th,td{border-color:#444}h2{border-color:#555}a{color:#8ab4f8}}
""".strip()
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
).encode()
_KEY = "<p>A key goes with each request: <code>Authorization: Bearer &lt;key&gt;</code></p>"
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"cache-control", b"no-cache"),
    (b"referrer-policy", b"no-referrer"),
)


class DocsPage:
    """`GET /docs`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._page = page(document).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        await send_whole(request, 200, _HEADERS, self._page, b"text/html; charset=utf-8")


class OpenApiDocument:
    """`GET /openapi.json`; `document` is asked each time, for an embedder may add routes."""

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        self._document = document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        content = orjson.dumps(self._document())
        await send_whole(request, 200, ((b"cache-control", b"no-cache"),), content)


def page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "head"
    ]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{title}</h1><p>{escape(info['description'])}</p>",
            f'<p>For programs: <a href=".{OPENAPI_PATH}">OpenAPI {document["openapi"]}</a>.',
            "Where there is a GET there is a HEAD.</p>",
            _KEY if "securitySchemes" in document["components"] else "",
            "<nav aria-label='Operations'><ul>",
            *(_entry(path, method, operation) for path, method, operation in operations),
            "</ul></nav>",
            *(_operation(path, method, operation) for path, method, operation in operations),
            _problems(),
            "</main></body></html>",
        ]
    )


def _entry(path: str, method: str, operation: Mapping[str, Any]) -> str:
    return (
        f'<li><a href="#{operation["operationId"]}"><code>{method.upper()} {escape(path)}</code></a>'
        f" {escape(operation['summary'])}</li>"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f'<h2 id="{operation["operationId"]}"><code>{method.upper()} {escape(path)}</code></h2>',
        f"<p>{escape(operation['summary'])}</p>",
    ]
    if operation["parameters"]:
        rows = (
            (
                parameter["name"],
                parameter["in"],
                _kind(parameter["schema"]),
                parameter.get("description", ""),
            )
            for parameter in operation["parameters"]
        )
        parts += ["<h3>Parameters</h3>", _table(("Name", "In", "Kind", "Meaning"), rows)]
    parts += _body(operation.get("requestBody", {}).get("content", {}))
    answers = (
        (status, "", "", answer["description"])
        for status, answer in sorted(operation["responses"].items())
    )
    parts += [
        "<h3>Answers</h3>",
        _table(("Status", "Meaning"), ((row[0], row[3]) for row in answers)),
    ]
    return "\n".join(parts)


def _body(content: Mapping[str, Any]) -> list[str]:
    form = content.get("multipart/form-data")
    if form is None:
        return [f"<h3>Body</h3><p>{escape(', '.join(content))}</p>"] if content else []
    schema = form["schema"]
    rows = (
        (
            name,
            "required" if name in schema["required"] else "optional",
            _kind(field),
            field.get("description", ""),
        )
        for name, field in schema["properties"].items()
    )
    return [
        "<h3>Form (multipart/form-data)</h3>",
        _table(("Field", "Needed", "Kind", "Meaning"), rows),
    ]


def _problems() -> str:
    kinds = sorted({*TYPES.values(), INTERNAL}, key=lambda kind: (kind.status, kind.name))
    rows = ((str(kind.status), kind.uri, kind.title) for kind in kinds)
    return '<h2 id="problems">Problems</h2>' + _table(("Status", "Type", "Title"), rows)


def _kind(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "binary":
        return "file"
    if "contentMediaType" in schema:
        return "JSON text"
    return str(schema.get("format", schema.get("type", "")))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
