"""Milvus Lite inside this process: one server for each folder, however many stores use it. For tests and small libraries."""

import threading
from pathlib import Path
from typing import Any

from hit.errors import UserError

_guard = threading.Lock()
_running: dict[Path, tuple[Any, Any, str]] = {}  # its server, its database, its address
_users: dict[Path, int] = {}


def open(path: Path) -> str:  # noqa: A001  # lite.open, as one says it
    """Return the address of the server of this folder, starting it where it does not run. Each call wants one `release`.

    Raises UserError where the package is missing, or where another process has the folder.
    """
    try:
        from milvus_lite.adapter.grpc.server import start_server_in_thread
        from milvus_lite.exceptions import DataDirLockedError
    except ImportError:
        raise UserError(path, "needs milvus-lite, which is not installed", "pip install 'hit-video[milvus]'") from None
    with _guard:
        if path not in _running:
            try:
                server, database, port = start_server_in_thread(str(path))
            except DataDirLockedError:
                raise UserError(path, "another process has it open", "end that one, or use a Milvus server") from None
            except OSError as error:
                raise UserError(path, f"cannot be opened: {error.strerror or error}") from None
            _running[path] = server, database, f"http://127.0.0.1:{port}"
        _users[path] = _users.get(path, 0) + 1
        return _running[path][2]


def release(path: Path) -> None:
    """Let go of the server of this folder; it ends with its last user."""
    with _guard:
        _users[path] -= 1
        if not _users[path]:
            del _users[path]
            server, database, _ = _running.pop(path)
            server.stop(grace=None).wait()
            database.close()
