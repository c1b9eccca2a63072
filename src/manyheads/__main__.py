"""`python -m manyheads` is the command."""

from manyheads.cli import command

if __name__ == "__main__":
    raise SystemExit(command())
