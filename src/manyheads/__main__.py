"""`python -m manyheads` is the command."""

from manyheads.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
