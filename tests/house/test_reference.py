"""Every public name has a docstring, and the reference shows it."""

import inspect
import subprocess
from pathlib import Path

import traffic_storage
from tests.house.tree import ROOT


def public_members(value: type) -> dict[str, object]:
    """The public methods and properties that a class defines or inherits from this package."""
    return {
        name: member
        for name, member in inspect.getmembers(value)
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property))
        and (member.fget if isinstance(member, property) else member).__module__.startswith(
            "traffic_storage"
        )
    }


def test_each_public_name_is_described() -> None:
    bare = []
    for name in traffic_storage.__all__:
        value = getattr(traffic_storage, name)
        if name != "__version__" and not inspect.getdoc(value):
            bare.append(name)
        # The methods of adapters are specified by their ports.
        if inspect.isclass(value) and ".adapters." not in value.__module__:
            bare += [
                f"{name}.{member}"
                for member, found in public_members(value).items()
                if not inspect.getdoc(found)
            ]
    assert not bare


def test_the_reference_has_each_public_name(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "reference", tmp_path], check=True, capture_output=True)
    page = (tmp_path / "traffic_storage.html").read_text("utf-8")
    assert [name for name in traffic_storage.__all__ if f'id="{name}"' not in page] == []
    assert "StorageService.store_violation_evidence" in page
    assert 'src="http' not in page
