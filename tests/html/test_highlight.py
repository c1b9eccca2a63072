"""Highlighted texts keep every character, escape what was typed, and can be read on light and dark pages."""

from __future__ import annotations

import colorsys
import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from manyheads.html.highlight import LONGEST, SHADE, Part, highlighted, score_bars

LABELS = ["Chemical", "Disease", "<b>", "نص"]


class Reader(HTMLParser):
    """The text of a page, apart from its labels, which are inside `bdi`; and what is marked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.labels, self.marks, self._open = "", [], [], list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._open.append(tag)
        if tag == "mark":
            self.marks.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "bdi" in self._open:
            self.labels.append(data)
            return
        self.text += data
        if "mark" in self._open:
            self.marks[-1] += data


def parts_of(text: str) -> st.SearchStrategy[list[Part]]:
    edges = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)), st.sampled_from(LABELS))
    return st.lists(edges, max_size=6).map(lambda found: [Part(min(a, b), max(a, b), label) for a, b, label in found])


@given(st.text(alphabet="ab <>&\"'\né😀", max_size=40).flatmap(lambda text: st.tuples(st.just(text), parts_of(text))))
def test_every_character_is_there_once_and_every_part_has_its_label_whatever_overlaps(case: tuple[str, list[Part]]) -> None:
    text, parts = case
    seen = Reader(highlighted(text, parts, LABELS))
    real = [part for part in parts if part.start < part.end]
    assert seen.text == text
    assert sorted(seen.labels) == sorted(part.label for part in real)
    covered = sum(any(part.start <= i < part.end for part in real) for i in range(len(text)))
    assert sum(map(len, seen.marks)) == covered


def test_long_texts_are_cut_and_it_is_said_how_much_is_left_out() -> None:
    text = "x" * (LONGEST + 5)
    page = highlighted(text, [Part(0, 1, "a"), Part(LONGEST, LONGEST + 2, "b")])
    assert "5 more characters, with 1 marked parts" in page
    assert page.count("<mark") == 1


def test_bars_are_of_the_highest_scores_with_given_labels_bold() -> None:
    page = score_bars({f"<{i}>": i / 10 for i in range(8)}, ["<7>"])
    assert re.findall(r"0\.\d{3}", page) == ["0.700", "0.600", "0.500", "0.400", "0.300"]
    assert "<b><bdi>&lt;7&gt;</bdi></b>" in page
    assert "3 more labels" in page


def luminance(channels: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_marked_text_has_contrast_in_any_hue_on_light_and_dark_pages() -> None:
    for hue in range(0, 360, 3):
        colour = colorsys.hls_to_rgb(hue / 360, 0.5, 0.85)
        for paper, ink in ((1.0, 0.0), (17 / 255, 1.0)):
            behind = luminance(tuple(SHADE * c + (1 - SHADE) * paper for c in colour))
            text = luminance((ink,) * 3)
            assert (max(behind, text) + 0.05) / (min(behind, text) + 0.05) >= 7
