"""`python -m hit`."""

from hit.cli import main

main()
