"""Transitions that IOB2 allows."""

import pytest

from manyheads.nn.iob2 import iob2_rules


def test_rules_of_iob2_allow_an_inside_only_after_its_own_label():
    transitions_KK, start_K, end_K = iob2_rules(["O", "B-X", "I-X", "B-Y", "I-Y"])
    assert (transitions_KK[:, [0, 1, 3]] == 0).all()
    assert (transitions_KK[:, 2] == 0).tolist() == [False, True, True, False, False]
    assert (transitions_KK[:, 4] == 0).tolist() == [False, False, False, True, True]
    assert (start_K == 0).tolist() == [True, True, False, True, False]
    assert (end_K == 0).all()


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["O", "S-X"], "tag 'S-X' is not IOB2"),
        (["O", "B-"], "tag 'B-' is not IOB2"),
        (["O", "I-X"], "tag 'I-X' can never be reached: 'B-X' is not among the tags"),
        (["O", "B-X", "B-X"], "a tag is given twice"),
    ],
)
def test_tags_that_are_not_iob2_are_refused(tags, message):
    with pytest.raises(ValueError, match=message):
        iob2_rules(tags)
