"""What an error says."""

from manyheads.errors import LONGEST_MESSAGE, RowError


def test_what_is_said_of_a_row_is_cut_in_the_middle_when_the_row_is_huge() -> None:
    said = str(RowError(f"'score' must be a number, seen {'9' * 100_000!r}; give one"))
    assert len(said) <= LONGEST_MESSAGE
    assert said.startswith("'score' must be a number, seen '999")
    assert said.endswith("999'; give one")
    assert str(RowError("has no 'text'")) == "has no 'text'"
