"""What a result was made with: versions, machine and commit."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import hit

PACKAGES = ("torch", "transformers", "numpy", "av", "opencv-python-headless")


def versions() -> dict[str, str]:
    """Return the versions of HiT, Python, the machine and the packages that can change a number."""
    found = {"hit": hit.__version__, "python": platform.python_version(), "machine": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "cpus": str(os.cpu_count())}


def commit() -> str | None:
    """Return the commit of the source tree that runs, with "+changes" if it was edited; None for an installed package."""
    root = Path(hit.__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None  # no git here, or not our repository


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20)  # noqa: S603, S607  # fixed words
    return done.stdout.strip()
