"""The order of rows in a recursion over time."""

from manyheads.nn.time_major import time_major


def test_time_major_reads_all_first_rows_then_all_second_rows_longest_first():
    row_T, active_L, sequence_T = time_major([2, 0, 3, 1])
    assert row_T.tolist() == [2, 0, 5, 3, 1, 4]
    assert active_L.tolist() == [3, 2, 1]
    assert sequence_T.tolist() == [2, 0, 3, 2, 0, 2]
