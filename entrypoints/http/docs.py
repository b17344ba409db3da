"""`/docs`: Swagger UI from the files of a package, with a strict Content-Security-Policy."""

import base64
import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.security.access import DOCUMENTATION
from traffic_storage.entrypoints.http.security.authentication import DOCS_PATH

OPENAPI_PATH = "/openapi.json"
_ASSETS_PATH = f"{DOCS_PATH}/assets"
# Relative URLs let the page work below any mount path. The validator would be a request to another
# host.
_SCRIPT = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, '
    "validatorUrl: null, displayRequestDuration: true, persistAuthorization: false})"
)
_SCRIPT_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Traffic Storage</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body>
</html>
"""
_HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; script-src 'self' 'sha256-{_SCRIPT_DIGEST}'; style-src 'self'; "
        "img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
}


def documentation_routes() -> list[BaseRoute]:
    """Return the routes of the page, its files and the document. They are public: none has data."""
    folder = files("fastapi_offline") / "static"
    routes = [
        Route(DOCS_PATH, _page, methods=["GET"], include_in_schema=False),
        Route(OPENAPI_PATH, _document, methods=["GET"], include_in_schema=False),
        Mount(_ASSETS_PATH, StaticFiles(directory=str(folder)), name="documentation"),
    ]
    for route in routes:
        route.traffic_storage_access = DOCUMENTATION  # type: ignore[attr-defined]
    return [*routes]


async def _page(_request: Request) -> Response:
    return Response(_PAGE, headers=_HEADERS, media_type="text/html")


async def _document(request: Request) -> Response:
    return JsonResponse(request.app.openapi(), headers={"cache-control": "no-cache"})
