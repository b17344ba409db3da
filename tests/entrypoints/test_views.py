"""Views of violations and files: each field, and the same view alone and on a page."""

from hypothesis import given, settings

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.testing.strategies import stored_files, stored_violations
from traffic_storage.entrypoints.views import file_view, violation_view, violation_views


@settings(max_examples=20)
@given(stored_violations())
def test_each_violation_of_a_page_has_a_view_of_its_own(violation: StoredViolation) -> None:
    record = violation.record
    changed, view = violation_views((violation, violation))
    changed["vehicle_bbox"].clear()
    assert view == violation_view(violation)
    assert view == {
        "violation_id": record.violation_id,
        "device_id": record.device_id,
        "violation_type": record.violation_type,
        "timestamp": violation.occurred_at.isoformat(),
        "zone_assumed": violation.zone_assumed,
        "vehicle_bbox": list(record.vehicle_bbox),
        "vehicle_class": record.vehicle_class,
        "confidence": record.confidence,
        "image_path": record.image_path,
        "video_path": record.video_path,
        "camera_info": record.camera_info,
        "processing_time_ms": record.processing_time_ms,
        "model_versions": record.model_versions,
        "received_at": violation.received_at.isoformat(),
        "incomplete": violation.image_file_id is None,
        "image_state": "available" if violation.image_file_id else None,
        "video_state": "available" if violation.video_file_id else None,
    }


def test_an_empty_page_has_no_views() -> None:
    assert violation_views(()) == []


@settings(max_examples=20)
@given(stored_files())
def test_the_times_of_a_file_are_written_as_isoformat(file: StoredFile) -> None:
    view = file_view(file)
    captured = file.captured_at
    assert view["created_at"] == file.created_at.isoformat()
    assert view["expires_at"] == file.keep_until.isoformat()
    assert view["captured_at"] == (captured.isoformat() if captured else None)
    assert [replica["verified_at"] for replica in view["replicas"]] == [
        replica.verified_at.isoformat() if replica.verified_at else None
        for replica in file.replicas
    ]
