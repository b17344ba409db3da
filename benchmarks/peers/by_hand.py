"""The same service by hand: FastAPI, SQLAlchemy's ORM on SQLite, files in a folder.

As their documentation shows it: a form with `UploadFile`, blocking work in threads, `FileResponse`.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, HTTPException, UploadFile
from fastapi.responses import FileResponse
from sqlalchemy import JSON, Index, event, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from benchmarks.peers.files import checked, save, sync_folder

CATALOGUE = "violations.sqlite3"
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 20000")


class Base(DeclarativeBase):
    """The base class of the tables."""


class Violation(Base):
    """The table of violations."""

    __tablename__ = "violation"
    __table_args__ = (Index("violation_device", "device_id", "timestamp"),)

    violation_id: Mapped[str] = mapped_column(primary_key=True)
    device_id: Mapped[str]
    violation_type: Mapped[str]
    timestamp: Mapped[str]
    vehicle_bbox: Mapped[list[float]] = mapped_column(JSON)
    vehicle_class: Mapped[str]
    confidence: Mapped[float]
    camera_info: Mapped[dict[str, Any]] = mapped_column(JSON)
    processing_time_ms: Mapped[float]
    model_versions: Mapped[dict[str, str]] = mapped_column(JSON)
    image_path: Mapped[str]
    sha256: Mapped[str]


def ddl() -> Sequence[str]:
    """Return the statements that make the table."""
    table = Violation.metadata.tables["violation"]
    made: list[CreateTable | CreateIndex] = [CreateTable(table)]
    made += [CreateIndex(index) for index in table.indexes]
    return [str(one.compile(dialect=sqlite.dialect())) for one in made]


def engine_of(folder: Path) -> AsyncEngine:
    """Return the engine of the catalogue in a folder; its commits are durable."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / CATALOGUE}")

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


def app(settings: Mapping[str, Any]) -> FastAPI:
    """Return the service. Settings: `folder`; `durable` and `checks` for files that are uploaded."""
    folder = Path(settings["folder"])
    durable, checks = bool(settings.get("durable")), bool(settings.get("checks"))
    engine = engine_of(folder)
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield
        await engine.dispose()

    service = FastAPI(lifespan=lifespan)

    def stored(name: str, content: bytes) -> tuple[str, str]:
        sha256 = checked(content) if checks else ""
        return str(save(folder, name, content, durable=durable)), sha256

    @service.post("/violations", status_code=201)
    async def store(
        violation_id: Annotated[str, Form()],
        device_id: Annotated[str, Form()],
        violation_type: Annotated[str, Form()],
        timestamp: Annotated[str, Form()],
        vehicle_bbox: Annotated[str, Form()],
        vehicle_class: Annotated[str, Form()],
        confidence: Annotated[float, Form()],
        camera_info: Annotated[str, Form()],
        processing_time_ms: Annotated[float, Form()],
        model_versions: Annotated[str, Form()],
        image_file: UploadFile,
    ) -> dict[str, str]:
        content = await image_file.read()
        path, sha256 = await asyncio.to_thread(stored, f"{violation_id}.jpg", content)
        row = Violation(
            violation_id=violation_id,
            device_id=device_id,
            violation_type=violation_type,
            timestamp=timestamp,
            vehicle_bbox=json.loads(vehicle_bbox),
            vehicle_class=vehicle_class,
            confidence=confidence,
            camera_info=json.loads(camera_info),
            processing_time_ms=processing_time_ms,
            model_versions=json.loads(model_versions),
            image_path=path,
            sha256=sha256,
        )
        async with sessions.begin() as session:
            session.add(row)
        return {"violation_id": violation_id}

    @service.get("/violations/{violation_id}/image")
    async def image(violation_id: str) -> FileResponse:
        async with sessions() as session:
            found = await session.get(Violation, violation_id)
        if found is None:
            raise HTTPException(404)
        return FileResponse(found.image_path, media_type="image/jpeg")

    @service.get("/violations")
    async def newest(device_id: str, limit: int = 100) -> list[dict[str, Any]]:
        statement = (
            select(Violation)
            .where(Violation.device_id == device_id)
            .order_by(Violation.timestamp.desc())
            .limit(limit)
        )
        async with sessions() as session:
            found = await session.scalars(statement)
            return [
                {column.name: getattr(row, column.name) for column in Violation.__table__.columns}
                for row in found
            ]

    @service.post("/videos", status_code=201)
    def store_video(file_id: Annotated[str, Form()], file: UploadFile) -> dict[str, str]:
        with (folder / f"{file_id}.mp4").open("wb") as target:
            shutil.copyfileobj(file.file, target)
        sync_folder(folder)
        return {"file_id": file_id}

    @service.get("/videos/{file_id}")
    async def video(file_id: str) -> FileResponse:
        return FileResponse(folder / f"{file_id}.mp4", media_type="video/mp4")

    return service
