"""`manyheads init`: find, recognise, group, check as `validate` does, and write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from manyheads.config.files import RunFile, parse_run
from manyheads.config.schema import json_schema
from manyheads.durable import writing_bytes
from manyheads.errors import DataError, UsageError
from manyheads.init.drafts import Draft, drafts_of
from manyheads.init.recognition import Recognised, recognise
from manyheads.init.run_file import SCHEMA, described, run_text
from manyheads.init.sources import find_sources
from manyheads.start import Validation, validate

Say = Callable[[str], None]
_PLACE = re.compile(r"(.+?):[ \d]")
SKIPPED_SHOWN = 20
WARNINGS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class InitRequest:
    """What the command is asked for."""

    files: Sequence[Path]
    output: Path | None
    """None: standard output."""
    force: bool = False
    """Replace the output if it exists."""


def init(request: InitRequest, say: Say) -> str:
    """The text of a run file, which is also written to the output. Raises UsageError and DataError; nothing is asked."""
    path = request.output or Path("run.yaml")
    check_output(request.output, request.force)
    drafts = drafts_of(_recognised(request.files, say))
    for draft in drafts:
        _tell(draft, say)
    say("checking the run file and all data, as `manyheads validate` does")
    drafts, found = _checked(drafts, path, say)
    text = run_text(drafts, path)
    _warn(found, say)
    if request.output is not None:
        write_run(path, text, say)
    return text


def check_output(output: Path | None, force: bool) -> None:
    """Raise UsageError for an output that exists, or is a folder."""
    if output is not None and output.is_dir():
        raise UsageError(f"{output} is a folder; give the run file to write, such as {output / 'run.yaml'}")
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} already exists; give another -o, or --force to replace it")


def write_run(path: Path, text: str, say: Say) -> None:
    """Write a run file, and beside it the schema that its first line names, if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_bytes(path) as file:
        file.write(text.encode())
    schema = path.parent / SCHEMA
    if not schema.exists():
        with writing_bytes(schema) as file:
            file.write(schema_text().encode())
        say(f"{schema}: for completion and checks in editors; `manyheads schema` prints it")


def schema_text() -> str:
    """The JSON Schema of run files."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _recognised(files: Sequence[Path], say: Say) -> list[Recognised]:
    sources, others = find_sources(files)
    found: list[Recognised] = []
    skipped = [f"{path}: its ending is not that of a data file" for path in others]
    for source in sources:
        try:
            found += recognise(source)
        except DataError as error:
            message = str(error)
            skipped.append(message if message.startswith(str(source.path)) else f"{source.path}: {message}")
    if not found:
        seen = "; ".join(skipped[:3]) or "no files"
        raise DataError(f"no data for any task type was recognised ({seen}); docs/data.md lists the formats")
    for line in skipped[:SKIPPED_SHOWN]:
        say(f"skipped {line}")
    if len(skipped) > SKIPPED_SHOWN:
        say(f"skipped {len(skipped) - SKIPPED_SHOWN} more files")
    return found


def _tell(draft: Draft, say: Say) -> None:
    files = ", ".join(
        f"{split} {' + '.join(str(source.path) for source in entry.sources)}" for split, entry in draft.splits.items()
    )
    say(f"assumed {draft.name}: {draft.kind} from {files} ({described(draft)})")
    for text in draft.checks:
        say(f"  check {text}")
    if draft.others:
        say(f"  check {' and '.join(draft.others)} could read the data too")


def _checked(drafts: list[Draft], path: Path, say: Say) -> tuple[list[Draft], Validation]:
    """The drafts without what cannot be used, and their validation. Raises DataError if nothing is left."""
    reasons: list[str] = []
    while drafts:
        text = run_text(drafts, path)
        found = validate(RunFile(parse_run(text, str(path)), path.resolve()), [])
        if not found.errors:
            return drafts, found
        if not any(_is_about(draft, error) for draft in drafts for error in found.errors):
            raise DataError("\n".join(found.errors))
        drafts = [draft for draft in drafts if _mended(draft, found.errors, reasons)]
        for line in reasons:
            say(line)
        if drafts:
            reasons.clear()
    raise DataError(f"no data can be used: {'; '.join(reasons)}")


def _mended(draft: Draft, errors: Sequence[str], reasons: list[str]) -> bool:
    """Leave out of a draft what its errors are about; whether anything is left. Adds the reasons."""
    own = [error for error in errors if _is_about(draft, error)]
    if not own:
        return True
    for split in ("validation", "test"):
        mark = f"tasks.{draft.name}.data.{split}: "
        first = next((error.removeprefix(mark) for error in own if error.startswith(mark)), None)
        if first is not None and split in draft.splits:
            del draft.splits[split]
            draft.left_out[split] = first
            reasons.append(f"left out {split} data of {draft.name}: {first}")
            return True
    about_rows = any(error.startswith(f"tasks.{draft.name}.data.") for error in own)
    if "validation" not in draft.splits and draft.fraction is None and not about_rows:
        draft.fraction = 0.0
        draft.checks.append(f"no validation data, so nothing tells how good the model is: {own[0]}")
        return True
    reasons.append(f"left out {draft.name}: {own[0].removeprefix(f'tasks.{draft.name}.data.train: ')}")
    return False


def _is_about(draft: Draft, error: str) -> bool:
    """Whether an error names the task, or a place in its data: a file, one of the same document, or one in a folder."""
    if error.startswith((f"tasks.{draft.name}.", f"task '{draft.name}'")):
        return True
    place = _PLACE.match(error)
    if place is None:
        return False
    found = Path(place[1]).resolve()
    own = [source.path.resolve() for entry in draft.splits.values() for source in entry.sources]
    return any(found.is_relative_to(path) or found.with_suffix("") == path.with_suffix("") for path in own)


def _warn(found: Validation, say: Say) -> None:
    """The warnings of the validation, as things to check."""
    warnings = [f"{report.task} · {report.split}: {warning}" for report in found.reports for warning in report.warnings]
    warnings += [line.removeprefix("warning: ") for line in found.plan if line.startswith("warning: ")]
    for line in warnings[:WARNINGS_SHOWN]:
        say(f"check {line}")
    if len(warnings) > WARNINGS_SHOWN:
        say(f"check {len(warnings) - WARNINGS_SHOWN} more warnings of `manyheads validate`")
