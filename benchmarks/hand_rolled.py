"""The simple solution: files or boto3, SQLAlchemy's ORM, Pillow's defaults.

It neither syncs files nor computes digests, so it guarantees neither durability nor integrity.
"""

import asyncio
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import frozen
from PIL import Image
from sqlalchemy import JSON
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks import data
from benchmarks.contenders import Contender, Place
from tests.support.media import Frame
from tests.support.servers import Bucket


class Base(DeclarativeBase):
    """The base class of the tables."""


class Violation(Base):
    """The table of violations."""

    __tablename__ = "violation"

    violation_id: Mapped[str] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(index=True)
    violation_type: Mapped[str] = mapped_column(index=True)
    timestamp: Mapped[str] = mapped_column(index=True)
    vehicle_bbox: Mapped[list[float]] = mapped_column(JSON)
    vehicle_class: Mapped[str]
    confidence: Mapped[float]
    camera_info: Mapped[dict[str, Any]] = mapped_column(JSON)
    processing_time_ms: Mapped[float]
    model_versions: Mapped[dict[str, str]] = mapped_column(JSON)
    image_path: Mapped[str]
    video_path: Mapped[str]


class Saving(ABC):
    """Saves bytes."""

    @abstractmethod
    def save(self, name: str, content: bytes) -> str:
        """Save `content`; return its path or key."""


class Folder(Saving):
    """Saves bytes as files of a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def save(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)


class Boto3(Saving):
    """Saves bytes as objects of a bucket, with boto3."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket.name
        self._client = import_module("boto3").client(
            "s3",
            endpoint_url=bucket.endpoint,
            aws_access_key_id=bucket.access_key,
            aws_secret_access_key=bucket.secret_key,
            region_name=bucket.region,
        )

    def save(self, name: str, content: bytes) -> str:
        self._client.put_object(Bucket=self._bucket, Key=name, Body=content)
        return name


@frozen
class Evidence:
    """The input of one item: the fields of a violation and its media."""

    fields: dict[str, Any]
    image: Frame
    video: bytes


class StoreEvidence(Contender[Evidence]):
    """Encodes the image, saves image and video, and inserts a row."""

    def __init__(self, saving: Saving, url: str) -> None:
        self._saving = saving
        self._engine = create_async_engine(url)
        self._sessions = async_sessionmaker(self._engine)

    async def open(self) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

    def items(self, numbers: range) -> Sequence[Evidence]:
        return [_evidence(number) for number in numbers]

    async def do(self, item: Evidence) -> None:
        name = item.fields["violation_id"]
        image = await asyncio.to_thread(_encoded, item.image)
        image_path = await asyncio.to_thread(self._saving.save, f"{name}.webp", image)
        video_path = await asyncio.to_thread(self._saving.save, f"{name}.mp4", item.video)
        fields = {**item.fields, "timestamp": datetime.isoformat(item.fields["timestamp"])}
        async with self._sessions.begin() as session:
            session.add(Violation(**fields, image_path=image_path, video_path=video_path))

    async def aclose(self) -> None:
        await self._engine.dispose()


def evidence(place: Place) -> StoreEvidence:
    """Return the contender with files and SQLite."""
    url = f"sqlite+aiosqlite:///{place.folder / 'violations.sqlite3'}"
    return StoreEvidence(Folder(place.folder / "files"), url)


def evidence_cloud(place: Place) -> StoreEvidence:
    """Return the contender with boto3 and PostgreSQL."""
    assert place.bucket is not None
    assert place.database is not None
    return StoreEvidence(Boto3(place.bucket), place.database.url)


def _encoded(frame: Frame) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "WEBP")
    return stream.getvalue()


def _evidence(number: int) -> Evidence:
    film = data.segment(number, data.VIDEO_BYTES)
    return Evidence(data.fields(number), data.frame(number), film)
