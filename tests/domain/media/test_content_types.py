import pytest

from tests.domain.media.samples import RECIPES
from traffic_storage.domain.media import (
    ACCEPTED_IMAGES,
    ACCEPTED_VIDEOS,
    ContentType,
    canonical_type,
    is_undeclared,
    same_family,
    walker_for,
)


@pytest.mark.parametrize(
    "declared",
    [
        None,
        "",
        "  ",
        "application/octet-stream",
        "binary/octet-stream",
        "Application/Octet-Stream; charset=binary",
        "*/*",
        "image/*",
        "Video/*",
        "image/mpo",
        "text/vnd.trolltech.linguist",
        "text/vnd.qt.linguist; charset=utf-8",
        "application/typescript",
        "model/vnd.mts",
        "audio/3gpp",
    ],
)
def test_what_is_undeclared_contradicts_nothing(declared: str | None) -> None:
    assert is_undeclared(declared)
    assert canonical_type(declared) is None
    assert all(same_family(declared, kind) for kind in ContentType)


@pytest.mark.parametrize("kind", ContentType)
def test_each_type_is_its_own_name(kind: ContentType) -> None:
    assert canonical_type(kind) is kind
    assert same_family(kind.upper() + " ; q=1", kind)
    assert not is_undeclared(kind)


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("image/jpg", ContentType.JPEG),
        ("IMAGE/PJPEG", ContentType.JPEG),
        ("video/matroska", ContentType.MATROSKA),
        ("video/x-m4v", ContentType.MP4),
        ("video/3gpp2", ContentType.MP4),
        ("video/mpegts", ContentType.MPEG_TS),
        ("video/avi", ContentType.AVI),
        ("application/geo+json", ContentType.JSON),
        ("text/csv; charset=utf-8", ContentType.TEXT),
    ],
)
def test_aliases_mean_the_known_type(declared: str, kind: ContentType) -> None:
    assert canonical_type(declared) is kind
    assert same_family(declared, kind)


@pytest.mark.parametrize(
    ("declared", "sniffed"),
    [
        ("video/mp4", ContentType.QUICKTIME),
        ("video/quicktime", ContentType.MP4),
        ("video/x-matroska", ContentType.WEBM),
        ("video/webm", ContentType.MATROSKA),
        ("application/json", ContentType.TEXT),
        ("text/plain", ContentType.JSON),
    ],
)
def test_the_container_decides_the_family(declared: str, sniffed: ContentType) -> None:
    assert same_family(declared, sniffed)


@pytest.mark.parametrize(
    ("declared", "sniffed"),
    [
        ("image/png", ContentType.JPEG),
        ("image/heic", ContentType.AVIF),
        ("video/mp4", ContentType.WEBM),
        ("video/mp2t", ContentType.MPEG_PS),
        ("image/jpeg", ContentType.MP4),
        ("application/json", ContentType.JPEG),
        ("application/pdf", ContentType.TEXT),
        ("image/pjpeg", ContentType.PNG),
        ("nonsense", ContentType.JPEG),
    ],
)
def test_another_family_contradicts(declared: str, sniffed: ContentType) -> None:
    assert not same_family(declared, sniffed)


def test_accepted_videos_are_those_with_a_walker() -> None:
    assert {kind for kind in ContentType if walker_for(kind)} == ACCEPTED_VIDEOS
    assert {recipe.content_type for recipe in RECIPES.values()} == ACCEPTED_VIDEOS
    assert not ACCEPTED_IMAGES & ACCEPTED_VIDEOS
