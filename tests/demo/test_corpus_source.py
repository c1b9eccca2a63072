"""The builder of the corpus names file and line of every defect of a note."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "corpus"
FILLER = " Seen on the round this morning by the whole team, who agree with the plan and will look in again after lunch today."
GOOD = "N | No [fever]{Disease a negated}. Given [Orbanol]{Chemical b} [5 mg]{Dose c} for [pain]{Disease d}." + FILLER


def checked(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """What the builder says of a file of notes with these lines."""
    path = folder / "notes" / "a.txt"
    path.parent.mkdir()
    path.write_text("\n".join(lines), encoding="utf-8")
    return subprocess.run(
        [sys.executable, SOURCE / "build.py", "--check", path], capture_output=True, text=True, check=False
    )


@pytest.fixture(autouse=True)
def _source() -> None:
    if not SOURCE.exists():
        pytest.skip("the corpus source is not part of an installed package")


def test_a_good_note_is_counted(tmp_path: Path) -> None:
    found = checked(tmp_path, "=== one", GOOD, "R | c dose-of b", "R | b treats d")
    assert found.returncode == 0, found.stderr
    assert "1 notes" in found.stdout
    assert "assertions (present 1, negated 1, hypothetical 0, family 0)" in found.stdout
    assert "2 relations (treats 1, causes 0, dose-of 1)" in found.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("N | [cough]{Symptom e}", "3 has the label 'Symptom'; labels are Chemical, Disease, Dose"),
        ("N | [cough]{Disease e maybe}", "3 has the class 'maybe' in [cough]; a Disease may have one of negated"),
        ("N | [Orbanol]{Chemical e negated}", "3 has the class 'negated' in [Orbanol]"),
        ("N | [cough]{Disease}", "3 has [cough]{Disease}; expected {Label id} or {Disease id class}"),
        ("N | [cough]{Disease E}", "3 has the id 'E' in [cough]; an id is a lower-case letter"),
        ("N | [cough]{Disease a}", "3 has the id 'a' twice"),
        ("N | [cough ]{Disease e}", "3 has a space at the edge of [cough ]"),
        ("N | [productive [cough]{Disease e}]{Disease f}", "3 has a bracket that is no annotation; entities do not overlap"),
        ("N | un[well]{Disease e}", "3 has an entity within a word: [well]"),
        ("R | c dose-of z", "3 names the entity 'z', which the note lacks"),
        ("R | c dose-of d", "3 relates Dose to Disease; dose-of holds between Dose and Chemical"),
        ("R | b cures d", "3 has the relation 'b cures d'; expected 'a LABEL b' with treats, causes, dose-of"),
        ("R | b treats", "3 has the relation 'b treats'; expected 'a LABEL b'"),
        ("Q | why?", "3 begins with 'Q' and has 2 fields; expected 'N | text' or 'R | a treats b'"),
        ("R |", "3 has an empty field"),
        ("R | b treats d\nR | b treats d", "4 repeats 'b treats d'"),
        ("R | b treats d\nN | More.", "4 is text after relations"),
        ("=== one\n" + GOOD, "3 has the slug 'one', which is taken"),
        ("=== two\nN | Too short.", "3 (two) has 2 words; a note has 25 to 80"),
    ],
)
def test_a_defect_of_a_note_is_named_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    found = checked(tmp_path, "=== one", GOOD, line)
    assert found.returncode == 2
    assert f"notes/a.txt:{message}" in found.stderr


def test_a_line_before_the_first_slug_is_an_error(tmp_path: Path) -> None:
    assert "notes/a.txt:1 stands before the first '=== slug'" in checked(tmp_path, GOOD).stderr
