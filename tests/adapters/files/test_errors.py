"""Errors of the operating system become those of the ports, or pass."""

import errno
import os

import pytest

from traffic_storage.adapters.files.errors import translated
from traffic_storage.ports.errors import DeadlinePassed, StorageFull, StorageUnavailable


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_full(number: int) -> None:
    with pytest.raises(StorageFull, match="/folder is full") as caught, translated("/folder"):
        raise OSError(number, os.strerror(number))
    assert caught.value.remedy


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE]
)
def test_a_refusal_is_unavailable_and_names_cause_and_remedy(number: int) -> None:
    with pytest.raises(StorageUnavailable, match="/folder") as caught, translated("/folder"):
        raise OSError(number, os.strerror(number), "/secret/path")
    assert caught.value.remedy
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("number", [errno.EBADF, errno.EFAULT, errno.EINVAL])
def test_bugs_pass(number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)) as caught, translated("/folder"):
        raise OSError(number, os.strerror(number))
    assert not isinstance(caught.value, StorageUnavailable)


def test_our_own_errors_pass() -> None:
    with pytest.raises(DeadlinePassed), translated("/folder"):
        raise DeadlinePassed("too late")
