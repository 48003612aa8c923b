"""A server that kills itself between a decision and its answer. Run as a script: serve_dying.py LIBRARY dies|lives."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from hit.api import run
from hit.db import Database
from hit.service import config
from toy import ToyEncoder

if __name__ == "__main__":
    decide = Database.decide_seat

    def decide_and_die(*given: Any) -> Any:
        """Decide, and be gone."""
        decide(*given)
        os.kill(os.getpid(), signal.SIGKILL)

    if sys.argv[2] == "dies":
        Database.decide_seat = decide_and_die  # type: ignore[assignment,method-assign]
    Database.golden_share = 0.0
    library = Path(sys.argv[1])
    run.serve(library, config.read(library, ["port=0", "jobs=false"]), ToyEncoder(), lambda url: print(url, flush=True))
