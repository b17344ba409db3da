"""The same service with Django: a model with a `FileField`, views, SQLite; served by gunicorn.

    PEER_SETTINGS='{"folder": "…"}' gunicorn benchmarks.peers.django_app:application

Settings: `folder`; `durable` and `checks` for files that are uploaded.
"""

import json
import os
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.peers.files import checked, sync_folder

CATALOGUE = "django.sqlite3"
_GIVEN = json.loads(os.environ["PEER_SETTINGS"])
_FOLDER = Path(_GIVEN["folder"])
_DURABLE, _CHECKS = bool(_GIVEN.get("durable")), bool(_GIVEN.get("checks"))

settings.configure(
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a benchmark",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MEDIA_ROOT=str(_FOLDER),
    # Those of `startproject` that need no user.
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(_FOLDER / CATALOGUE),
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
            },
        }
    },
)
django.setup(set_prefix=False)

from django.core.files.base import File  # noqa: E402 - needs the settings
from django.core.files.storage import FileSystemStorage  # noqa: E402
from django.db import connection, models  # noqa: E402


class DurableStorage(FileSystemStorage):
    """Django's storage of files, whose files survive a power cut."""

    def _save(self, name: str, content: "File[bytes]") -> str:
        saved: str = super()._save(name, content)
        where = Path(self.path(saved))
        with where.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(where.parent)
        return saved


class Violation(models.Model):
    """The table of violations."""

    class Meta:
        """Django's options."""

        app_label = "peers"
        db_table = "violation"
        indexes = (models.Index(fields=["device_id", "timestamp"], name="violation_device"),)

    violation_id = models.CharField(primary_key=True, max_length=200)
    device_id = models.CharField(max_length=200)
    violation_type = models.CharField(max_length=50)
    timestamp = models.CharField(max_length=40)
    vehicle_bbox = models.JSONField()
    vehicle_class = models.CharField(max_length=50)
    confidence = models.FloatField()
    camera_info = models.JSONField()
    processing_time_ms = models.FloatField()
    model_versions = models.JSONField()
    image_path = models.FileField(
        storage=DurableStorage() if _DURABLE else FileSystemStorage(), max_length=300
    )
    sha256 = models.CharField(max_length=64)


def make_table() -> None:
    """Make the table in an empty database."""
    with connection.schema_editor() as editor:
        editor.create_model(Violation)


@csrf_exempt
def violations(request: HttpRequest) -> JsonResponse:
    """Store a violation with its image; or return the newest of a device."""
    if request.method == "GET":
        limit = int(request.GET.get("limit", "100"))
        found = Violation.objects.filter(device_id=request.GET["device_id"])
        rows = found.order_by("-timestamp")[:limit]
        return JsonResponse([_shown(row) for row in rows], safe=False)
    form, image = request.POST, request.FILES["image_file"]
    sha256 = ""
    if _CHECKS:
        sha256 = checked(image.read())
        image.seek(0)
    texts = ("violation_id", "device_id", "violation_type", "timestamp", "vehicle_class")
    numbers = ("confidence", "processing_time_ms")
    documents = ("vehicle_bbox", "camera_info", "model_versions")
    Violation.objects.create(
        **{name: form[name] for name in texts},
        **{name: float(form[name]) for name in numbers},
        **{name: json.loads(form[name]) for name in documents},
        image_path=image,
        sha256=sha256,
    )
    return JsonResponse({"violation_id": form["violation_id"]}, status=201)


def image(_: HttpRequest, violation_id: str) -> FileResponse:
    """Return the image of a violation."""
    return FileResponse(Violation.objects.get(pk=violation_id).image_path.open("rb"))


def _shown(row: Violation) -> dict[str, Any]:
    names = [one.attname for one in Violation._meta.fields]  # noqa: SLF001 - Django's own interface
    return {name: getattr(row, name) for name in names} | {"image_path": row.image_path.name}


urlpatterns = [
    path("violations", violations),
    path("violations/<str:violation_id>/image", image),
]
application = get_wsgi_application()
