"""Runs the command as `python -m manyheads`."""

from manyheads.cli import command

if __name__ == "__main__":
    raise SystemExit(command())
