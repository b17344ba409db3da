"""Real files: the info are those that PyAV reads, and what is cut short is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.media.samples import HEIGHT, RECIPES, WIDTH, outcome, reading, sample, walk
from tests.domain.media.samples import walker_for as walker_of
from tests.support.media import VIDEO_SIZE, Container, video
from traffic_storage.domain.media import ContainerInfo, ContentType, MalformedMedia, sniff

CODECS = {
    "mp4": "avc1",
    "mp4-mpeg4": "mp4v",
    "mp4-faststart": "avc1",
    "mp4-fragmented": "avc1",
    "mp4-sound": "avc1",
    "mov": "avc1",
    "mov-mjpeg": "jpeg",
    "mkv": "V_MPEG4/ISO/AVC",
    "mkv-ffv1": "V_FFV1",
    "mkv-sound": "V_MPEG4/ISO/AVC",
    "mkv-live": "V_MPEG4/ISO/AVC",
    "webm-vp8": "V_VP8",
    "webm-vp9": "V_VP9",
    "ts": "avc1",
    "ts-mpeg2": "mp2v",
    "m2ts": "avc1",
    "avi": "FMP4",
    "avi-mjpeg": "MJPG",
    "avi-sound": "FMP4",
}
# Only the last frame of a live stream would tell.
UNTIMED = {"mkv-live"}
# A fragmented file cut between fragments, a live stream cut between Clusters and a transport stream
# cut between packets are whole, shorter files.
WHOLE_IN_PARTS = {"mp4-fragmented", "mkv-live", "ts", "ts-mpeg2", "m2ts"}
PACKET = {"ts": 188, "ts-mpeg2": 188, "m2ts": 192}


@pytest.mark.parametrize("name", RECIPES)
def test_the_facts_are_those_that_pyav_reads(name: str) -> None:
    info, expected = walk(RECIPES[name].content_type, sample(name)), reading(name)
    assert info.container is RECIPES[name].content_type
    assert info.video_codec == CODECS[name]
    if name in PACKET:
        assert (info.width, info.height) == (None, None)
    else:
        assert (info.width, info.height) == (expected.width, expected.height) == (WIDTH, HEIGHT)
    if name in UNTIMED:
        assert info.duration_seconds is None
    else:
        assert info.duration_seconds == pytest.approx(expected.duration_seconds, abs=0.1)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm", "ts", "avi"])
def test_moving_pictures_with_frames_that_look_ahead(container: Container) -> None:
    film = video(container)
    kind = sniff(film)
    assert kind is not None
    info = walk(kind, film)
    assert info.container is kind
    assert info.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert (info.width, info.height) == ((None, None) if container == "ts" else VIDEO_SIZE)


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - WHOLE_IN_PARTS))
def test_truncations_are_refused(name: str) -> None:
    kind, film = RECIPES[name].content_type, sample(name)
    step = max(1, len(film) // 1000)
    accepted = [
        end
        for end in range(0, len(film), step)
        if isinstance(outcome(kind, film[:end]), ContainerInfo)
    ]
    assert accepted == []


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - WHOLE_IN_PARTS))
def test_a_truncation_is_said_to_be_where_the_file_ends(name: str) -> None:
    kind, film = RECIPES[name].content_type, sample(name)
    for end in (len(film) // 2, len(film) - 1):
        with pytest.raises(MalformedMedia, match="the file ends inside") as caught:
            walk(kind, film[:end])
        assert caught.value.offset_bytes == end


@pytest.mark.parametrize("name", PACKET)
def test_a_transport_stream_may_end_inside_a_packet(name: str) -> None:
    film = sample(name)
    assert walk(ContentType.MPEG_TS, film[:-5]).video_codec == CODECS[name]


@pytest.mark.parametrize("name", ["mp4-fragmented", "mkv-live"])
def test_a_stream_cut_inside_a_part_is_refused(name: str) -> None:
    kind, film = RECIPES[name].content_type, sample(name)
    refused = [
        end for end in range(len(film)) if not isinstance(outcome(kind, film[:end]), ContainerInfo)
    ]
    assert len(refused) > 0.95 * len(film)
    assert len(film) - 1 in refused


@pytest.mark.parametrize(
    "name", ["mp4", "mp4-faststart", "mp4-fragmented", "mov", "mkv", "mkv-ffv1", "webm-vp9", "avi"]
)
@pytest.mark.parametrize("trailer", [b"\x11\x22\x33", bytes(1 << 16), b"Camera 7\r\n" * 99])
def test_bytes_after_a_whole_film_are_stored(name: str, trailer: bytes) -> None:
    kind, film = RECIPES[name].content_type, sample(name)
    assert walk(kind, film + trailer) == walk(kind, film)


@pytest.mark.parametrize("name", RECIPES)
def test_single_bytes_give_the_same_facts(name: str) -> None:
    kind, film = RECIPES[name].content_type, sample(name)
    assert walk(kind, film, chunk_bytes=1) == walk(kind, film)


@given(st.sampled_from(sorted(RECIPES)), st.data())
@settings(deadline=None)
def test_any_cut_into_chunks_gives_the_same(name: str, data: st.DataObject) -> None:
    kind, film = RECIPES[name].content_type, sample(name)
    film = film[: data.draw(st.integers(0, len(film)) | st.just(len(film)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(film)), max_size=12)))
    walker = walker_of(kind)
    found: object
    try:
        for start, end in zip([0, *cuts], [*cuts, len(film)], strict=True):
            walker.feed(memoryview(film)[start:end])
        found = walker.finish()
    except MalformedMedia as error:
        found = (error.container, error.offset_bytes, error.reason)
    assert found == outcome(kind, film)
