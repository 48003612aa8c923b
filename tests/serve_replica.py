"""A server of several over one library. Run as a script: serve_replica.py LIBRARY FOLDER [KEY=VALUE]...

As serve_toy.py, but whoever works on a job is taken for dead after 5 seconds and not after 30, and no case is a golden one.
"""

import sys
from pathlib import Path

from hit.api import run
from hit.db import Database
from hit.errors import UserError
from hit.service import config
from serve_toy import GatedEncoder

if __name__ == "__main__":
    Database.claim_job.__defaults__ = (5.0,)
    Database.golden_share = 0.0
    library = Path(sys.argv[1])
    try:
        encoder = GatedEncoder(Path(sys.argv[2]))
        sys.exit(run.serve(library, config.read(library, sys.argv[3:]), encoder, lambda url: print(url, flush=True)))
    except UserError as error:
        sys.exit(str(error))
