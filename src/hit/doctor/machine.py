"""The program and the machine that it runs on."""

import os
import platform
import resource
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import hit
from hit.doctor.finding import FAIL, OK, WARN, Finding, State, size
from hit.library import CACHE

_NAME = "hit-video"
_TOLD = ("torch", "av", "faiss-cpu", "numpy", "transformers", "sqlalchemy")
_FREE = 5 * 2**30, 2**28  # bytes of a disk, below which to warn, and to fail
_INODES = 0.05, 0.005  # shares of a disk's that are free, the same
_MEMORY = 2 * 2**30, 2**28
_FILES = 4096, 512  # that a process may have open
_LIMIT = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"
statvfs = os.statvfs  # tests fill disks by it where they may mount none


def versions() -> Iterator[Finding]:
    """Say what is installed, and whether that is what this version of hit asks for."""
    from packaging.requirements import Requirement

    told = {"hit": hit.__version__, "python": platform.python_version(), **{name: version(name) for name in _TOLD}}
    yield Finding("versions", ", ".join(f"{name} {number}" for name, number in told.items() if number), OK)
    mend = "pip install -c constraints.txt again, as docs/deploy.md has it"
    for line in metadata.requires(_NAME) or ():
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        found = version(wanted.name)
        if not found:
            yield Finding("versions", f"{wanted.name} is not installed", FAIL, mend)
        elif not wanted.specifier.contains(found, prereleases=True):
            yield Finding("versions", f"{wanted.name} is {found}, and hit needs {wanted.specifier}", FAIL, mend)


def version(name: str) -> str:
    """Return which version of a package is installed, or the empty word."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def machine() -> Iterator[Finding]:
    """Look at the files that may be open, memory, threads."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = soft if soft != resource.RLIM_INFINITY else 1 << 30
    mend = f"ulimit -n {max(_FILES[0], min(hard, 65536))}, or LimitNOFILE= in the unit"
    yield _state("files", f"{soft} files may be open at once (ulimit -n)", files, _FILES, mend)
    yield _state("memory", *_memory(), _MEMORY, "end what else runs here, or serve with fewer workers")
    cores, threads = len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) > cores:
        what = f"OMP_NUM_THREADS is {threads}, and this process has {cores} cores"
        yield Finding("threads", what, WARN, f"set it to {cores} or less, or leave it out")
    else:
        yield Finding("threads", f"{cores} cores, OMP_NUM_THREADS {threads or 'not set: hit serve shares them out'}", OK)


def _memory() -> tuple[str, float]:
    free = float("inf")
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    try:
        most, used = (Path(name).read_text().strip() for name in _LIMIT)
        free = min(free, int(most) - int(used))
    except (OSError, ValueError):  # no group, or none that is limited
        pass
    return (f"{size(free)} of memory are free" if free < float("inf") else "how much memory is free is not known here"), free


def disks(path: Path | None) -> Iterator[Finding]:
    """Look for room, and for names, on the disks that are written to."""
    places = {"temporary files": Path(tempfile.gettempdir())}
    if path:
        places = {"the library": path, "its cache": path / CACHE, **places}
    for whose, folder in places.items():
        there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        about = statvfs(there)
        free = about.f_bavail * about.f_frsize
        mend = f"make room, or bring {whose} to another disk"
        yield _state("disk", f"{whose}: {size(free)} free at {there}", free, _FREE, mend)
        if about.f_files:
            share = about.f_favail / about.f_files
            if share < _INODES[0]:
                yield _state("disk", f"{whose}: {share:.1%} of the names (inodes) free at {there}", share, _INODES, mend)


def _state(part: str, what: str, value: float, least: tuple[float, float], mend: str) -> Finding:
    state: State = FAIL if value < least[1] else WARN if value < least[0] else OK
    return Finding(part, what, state, "" if state == OK else mend)
