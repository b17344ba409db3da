"""The resident memory of a process, from Linux' /proc."""

from pathlib import Path


def forget_peak(pid: int) -> None:
    """Let `VmHWM` count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def memory_mb(pid: int, name: str) -> float:
    """Return `VmRSS` (now) or `VmHWM` (the peak) in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} has no {name}")
