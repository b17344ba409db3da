"""`DataValidator`: the examples of the source document, alone, on real photographs and videos."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.damage import blurred
from tests.support.media import encode, photograph, shipped_jpeg, truncated, video
from traffic_storage import (
    RECORD_CHECKS,
    ConfigurationError,
    DataValidator,
    Finding,
    InvalidInput,
    JudgedRecord,
    Part,
    Severity,
    StorageConfig,
    StorageService,
    ViolationRecord,
)

METRICS = {
    *("width", "height", "sharpness", "brightness", "contrast", "exposure", "noise"),
    *("blockiness", "colour_cast", "clipped_shadows", "clipped_highlights"),
}


@pytest.fixture
def validator(tmp_path: Path, no_leaks: None) -> DataValidator:
    return DataValidator(StorageConfig(local_base_path=tmp_path / "never made"))


def record(**changes: Any) -> ViolationRecord:
    """The record of the source document's example."""
    given: dict[str, Any] = {
        "violation_id": "V001",
        "device_id": "cam_001",
        "violation_type": "speed",
        "timestamp": datetime.now(),
        "vehicle_bbox": [100, 100, 200, 200],
        "vehicle_class": "car",
        "confidence": 0.95,
        "image_path": "",
        "camera_info": {"location": "Main St"},
        "processing_time_ms": 150.0,
        "model_versions": {"detector": "yolov8"},
    }
    return ViolationRecord(**given | changes)


def test_the_example_of_the_source_document(capsys: pytest.CaptureFixture[str]) -> None:
    violation_record, image = record(), photograph("motorcycle")

    validator = DataValidator()

    # Validar registro de violación
    validation_result = validator.validate_violation_record(violation_record)

    if validation_result["valid"]:
        print(f"Registro válido (score: {validation_result['score']})")
    else:
        print(f"Errores: {validation_result['errors']}")
        print(f"Advertencias: {validation_result['warnings']}")

    # Validar imagen
    image_validation = validator._validate_image_data(image)
    print(f"Métricas de imagen: {image_validation['metrics']}")

    said = capsys.readouterr().out
    assert said.startswith("Registro válido (score: 0.95)\nMétricas de imagen: {'width': 741, ")
    assert image_validation["metrics"] is not None
    assert set(image_validation["metrics"]) >= METRICS
    assert image_validation == validator.validate_image(image)


def test_what_can_not_be_constructed_is_judged(validator: DataValidator) -> None:
    result = validator.validate_violation_record({"violation_id": "V 1", "confidence": "high"})
    assert not result["valid"]
    assert {"violation_id", "confidence", "device_id"} <= {e["field"] for e in result["errors"]}
    with pytest.raises(InvalidInput, match="record: is a list"):
        validator.validate_violation_record([])  # type: ignore[arg-type]


def test_box_receipt_and_repetition_are_compared(validator: DataValidator) -> None:
    at = datetime(2026, 3, 14, 12, tzinfo=UTC)
    seen = {"received_at": at + timedelta(minutes=1), "image_size": (640, 480)}
    first = validator.validate_violation_record(record(timestamp=at), **seen)  # type: ignore[arg-type]
    assert first["valid"]
    assert first["score"] == 1
    assert validator.validate_violation_record(record(timestamp=at), **seen) == first  # type: ignore[arg-type]
    again = validator.validate_violation_record(
        record(violation_id="V002", timestamp=at),
        received_at=at,
        image_size=(90, 90),
    )
    assert [e["kind"] for e in again["errors"]] == ["box_outside", "duplicate"]


def test_an_image_is_judged_as_array_bytes_and_path(
    validator: DataValidator, tmp_path: Path
) -> None:
    image = photograph("chelsea")
    data = encode(image, "PNG")
    (tmp_path / "cat.png").write_bytes(data)
    expected = validator.validate_image(image)
    assert expected["valid"]
    assert validator.validate_image(data) == expected
    assert validator.validate_image(tmp_path / "cat.png") == expected
    assert validator.validate_image(image[..., ::-1], "BGR") == expected
    assert validator.validate_image(str(tmp_path / "absent.png"))["metrics"] is None
    broken = validator.validate_image(truncated(shipped_jpeg("rocket")))
    assert (broken["valid"], broken["score"], broken["metrics"]) == (False, 0, None)
    with pytest.raises(InvalidInput, match="give bytes or a path"):
        validator.validate_image(7)  # type: ignore[arg-type]


def test_a_blurred_image_is_not_valid(validator: DataValidator) -> None:
    result = validator.validate_image(blurred(photograph("astronaut"), 5))
    assert "blurred" in [error["kind"] for error in result["errors"]]
    assert result["score"] < 0.1


def test_an_alpha_channel_in_bgr_is_kept_apart(validator: DataValidator) -> None:
    image = photograph("coffee")
    alpha = np.dstack([image[..., ::-1], image[..., 0]])
    assert validator.validate_image(alpha, "BGR") == validator.validate_image(image)


async def test_a_video_is_judged_also_where_a_loop_runs(
    validator: DataValidator, tmp_path: Path
) -> None:
    data = video("mp4")
    (tmp_path / "film.mp4").write_bytes(data)
    result = validator.validate_video(data)
    assert result["valid"]
    assert result["metrics"] is not None
    assert result["metrics"]["frames"] == 50
    assert result["metrics"]["frame_rate"] == pytest.approx(25)
    assert (result["metrics"]["black_frames"], result["metrics"]["frozen_frames"]) == (0, 0)
    assert validator.validate_video(tmp_path / "film.mp4") == result
    assert not validator.validate_video(truncated(data))["valid"]


def test_threads_may_share_a_validator(validator: DataValidator) -> None:
    data, scores = encode(photograph("chelsea")), []
    threads = [
        threading.Thread(target=lambda: scores.append(validator.validate_image(data)["score"]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scores) == 6
    assert len(set(scores)) == 1


def test_a_check_is_added_by_one_function() -> None:
    def limit(judged: JudgedRecord) -> Part:
        if "limit" in judged.info:
            return Part("limit")
        gap = Finding(Severity.ERROR, "no_limit", "camera_info.limit", "is missing", "give it")
        return Part("limit", 0.5, (gap,))

    mine = DataValidator(record_checks=[*RECORD_CHECKS, limit])
    result = mine.validate_violation_record(record())
    assert [error["field"] for error in result["errors"]] == ["camera_info.limit"]
    assert result["parts"]["limit"] == 0.5


def test_nothing_is_written(validator: DataValidator, tmp_path: Path) -> None:
    validator.validate_image(shipped_jpeg("rocket"))
    assert not (tmp_path / "never made").exists()


async def test_completeness_is_judged_of_what_the_service_returns(tmp_path: Path) -> None:
    config = StorageConfig(local_base_path=tmp_path, workers=0)
    info = {"location": "Main St", "speed_kmh": 93, "speed_limit_kmh": 50, "certificate": "C-1"}
    at = datetime.now(UTC)
    async with StorageService(config) as storage:
        await storage.store_violation_evidence(
            record(timestamp=at, camera_info=info), image=shipped_jpeg("rocket")
        )
        violation, files = await storage.get_violation("V001")
    validator = DataValidator(config)
    result = validator.check_completeness(violation, files, "ES")
    assert (result["exportable_as_evidence"], result["profile"]) == (False, "example-es-speed")
    assert result["example"]
    assert {finding["field"] for finding in result["missing"]} == {
        *("files.image", "files.image.captured_at"),
        *("camera_info.clock.synchronised_at", "camera_info.clock.offset_ms"),
    }
    assert validator.check_completeness(violation, files)["exportable_as_evidence"]
    own = tmp_path / "profiles.toml"
    own.write_text("[[profiles]]\nprofile_id = 7\n")
    with pytest.raises(ConfigurationError, match=r"profiles\[1\]\.profile_id: must be of type str"):
        async with StorageService(StorageConfig(local_base_path=tmp_path, profiles_file=own)):
            pass
    own.write_text(
        '[[profiles]]\nprofile_id = "own"\nviolation_type = "speed"\njurisdiction = "ES"\n'
        'legal_source = "an agreement"\n'
    )
    configured = DataValidator(StorageConfig(local_base_path=tmp_path, profiles_file=own))
    result = configured.check_completeness(violation, files, "ES")
    assert (result["exportable_as_evidence"], result["profile"]) == (True, "own")
    with pytest.raises(InvalidInput, match="timestamp: can't be read"):
        validator.check_completeness({}, files)
