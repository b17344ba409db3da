"""Access tokens: what opens, and that nothing else does."""

import base64
import hmac
import random
import string
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.access import bounded_expiry, sign, verify
from traffic_storage.domain.errors import AccessDenied, InvalidInput
from traffic_storage.domain.identifiers import FileId, evidence_file_id
from traffic_storage.domain.identifiers import violation_id as as_violation_id

KEY = b"k" * 32
NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
V001_IMAGE = evidence_file_id(as_violation_id("V001"), "image")
URL_SAFE = string.ascii_letters + string.digits + "-_"
IDS = st.text("aZ0._-:@+=~", min_size=1, max_size=200).map(FileId)
KEYS = st.binary(min_size=32, max_size=64)


def token(file_id: FileId = V001_IMAGE, expires_at: datetime = NOW + HOUR) -> bytes:
    return sign(file_id, expires_at, KEY).encode()


def is_refused(candidate: bytes, now: datetime = NOW) -> bool:
    try:
        verify(candidate, now, KEY)
    except AccessDenied as error:
        refusal = error
    else:
        return False
    assert refusal.remedy
    assert KEY.decode() not in str(refusal)
    return True


@given(IDS, KEYS)
def test_a_token_opens_its_file(file_id: FileId, key: bytes) -> None:
    signed = sign(file_id, NOW + HOUR, key)
    assert verify(signed.encode(), NOW, key) == file_id
    assert set(signed) <= set(URL_SAFE + ".")


@given(IDS, KEYS, KEYS)
def test_a_token_of_another_key_is_refused(file_id: FileId, key: bytes, other: bytes) -> None:
    signed = sign(file_id, NOW + HOUR, key).encode()
    if key == other:
        return
    with pytest.raises(AccessDenied):
        verify(signed, NOW, other)


def test_it_expires_to_the_second() -> None:
    signed = token(expires_at=NOW + HOUR)
    assert not is_refused(signed, NOW + HOUR - timedelta.resolution)
    assert is_refused(signed, NOW + HOUR)
    assert is_refused(signed, NOW + HOUR + timedelta(days=36500))
    # Parts of a second are not in a token, in nobody's favour.
    assert token(expires_at=NOW + HOUR + timedelta(milliseconds=999)) == signed


@pytest.mark.parametrize("end", [253402300800, 10**12 - 1, 9 * 10**11])
def test_an_end_after_the_last_year_is_refused(end: int) -> None:
    """Nobody makes such a token but one who has the key; no time can be compared with its end."""
    payload = b"v1.%d." % end + base64.urlsafe_b64encode(V001_IMAGE.encode()).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.digest(KEY, payload, "sha256")).rstrip(b"=")
    assert is_refused(payload + b"." + signature)


def mutated(original: bytes, chance: random.Random) -> bytes:
    """The token with one to three bytes changed, put in, taken out, swapped or repeated."""
    data = bytearray(original)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        match chance.randrange(6):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = ord(chance.choice(URL_SAFE))
            case 2:
                data.insert(at, chance.randrange(256))
            case 3:
                del data[at]
            case 4:
                other = chance.randrange(len(data))
                data[at], data[other] = data[other], data[at]
            case _:
                data[at:at] = data[at : at + chance.randint(1, 8)]
    return bytes(data)


def test_of_ten_thousand_mutations_none_is_accepted() -> None:
    chance = random.Random(20260314)
    originals = [token(), token(FileId("detection_001")), token(FileId("a" * 200))]
    tried = 0
    while tried < 10_000:
        original = chance.choice(originals)
        candidate = mutated(original, chance)
        if candidate in originals:
            continue
        assert is_refused(candidate), candidate
        tried += 1


def alphabet_neighbours(text: str) -> list[str]:
    """The text with each other last character: those of the same leading bits decode alike."""
    return [text[:-1] + letter for letter in URL_SAFE if letter != text[-1]]


@pytest.mark.parametrize("file_id", ["a", "ab", "abc", "V001~image"])
def test_every_re_encoding_is_refused(file_id: str) -> None:
    version, expires, encoded, seal = token(FileId(file_id)).decode().split(".")
    padded = encoded + "=" * (-len(encoded) % 4)
    as_standard = base64.b64encode(file_id.encode()).decode()
    candidates = [
        *(f"{version}.{expires}.{encoded}.{other}" for other in alphabet_neighbours(seal)),
        *(f"{version}.{expires}.{other}.{seal}" for other in alphabet_neighbours(encoded)),
        f"{version}.{expires}.{padded}=.{seal}",
        f"{version}.{expires}.{encoded}.{seal}=",
        f"{version}.0{expires}.{encoded}.{seal}",
        f"{version}.+{expires}.{encoded}.{seal}",
        f"{version}.{expires[:-1]}.{encoded}.{seal}",
        f"V1.{expires}.{encoded}.{seal}",
        f"v01.{expires}.{encoded}.{seal}",
        f"{version}.{expires}.{file_id}.{seal}",
        f"{version}.{expires}.{as_standard}=.{seal}",
        f"{version}.{expires}.{encoded}.{seal.swapcase()}",
        f" {version}.{expires}.{encoded}.{seal}",
        f"{version}.{expires}.{encoded}.{seal}\n",
        f"{version}.{expires}.{encoded}.{seal}.",
        f"{version}.{expires}.{encoded}.{seal}?x=1",
        f"{version}.{expires}.{encoded}.",
        f"{version}.{expires}..{seal}",
        f"{version}.{expires}.{encoded}",
        f"{version}%2E{expires}.{encoded}.{seal}",
        f"{version}.{expires}.{encoded}.{seal}".replace("v", "%76", 1),
    ]
    for candidate in candidates:
        assert is_refused(candidate.encode()), candidate


@given(st.binary(max_size=600))
def test_any_bytes_that_were_not_signed_are_refused(candidate: bytes) -> None:
    assert is_refused(candidate)


def test_parts_of_two_tokens_make_no_third() -> None:
    mine = token(FileId("mine"), NOW + HOUR).split(b".")
    theirs = token(FileId("theirs"), NOW + 2 * HOUR).split(b".")
    for choice in range(1, 15):
        parts = [(theirs if choice >> place & 1 else mine)[place] for place in range(4)]
        if parts not in (mine, theirs):
            assert is_refused(b".".join(parts))


@pytest.mark.parametrize(
    "expires_in", [1, 1.5, 3600, 604_800, np.int64(60), np.float32(1.5), np.uint8(1)]
)
def test_an_expiry_within_bounds_is_taken(expires_in: float) -> None:
    longest = timedelta(days=7)
    assert bounded_expiry(expires_in, longest) == timedelta(seconds=float(expires_in))


@pytest.mark.parametrize(
    "expires_in",
    [
        0,
        0.99,
        -1,
        604_801,
        1e300,
        10**400,
        pytest.param(10**5000, id="huge"),
        float("nan"),
        float("inf"),
        True,
        np.True_,
        np.int64(0),
        np.float32("nan"),
        np.float64("inf"),
        "3600",
        None,
    ],
)
def test_an_expiry_out_of_bounds_is_refused_with_the_bounds(expires_in: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        bounded_expiry(expires_in, timedelta(days=7))
    (problem,) = caught.value.problems
    assert (problem.field, problem.remedy) == ("expires_in", "give 1 to 604800 seconds")
