"""The page of a comparison."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.report.comparison import comparison_page, lede
from manyheads.report.results import results
from report.pages import check, outline
from report.samples import comparison

HOSTILE = '<script>window.harmed=1</script>"&\u202e\ud800\x00'


def verdicts(*words: str) -> str:
    tasks = {f"t{i}": {"verdict": word} for i, word in enumerate(words)}
    return lede(results({"tasks": tasks}))


def test_the_page_is_whole_offline_and_every_figure_is_followed_by_its_table() -> None:
    page = comparison_page(comparison())
    found = check(page)
    assert found.tags.count("figure") == 9
    assert len(page) < 200_000


def test_the_same_comparison_gives_the_same_page_also_by_way_of_a_file() -> None:
    said = comparison()
    assert comparison_page(json.loads(json.dumps(said))) == comparison_page(said)


def test_the_answer_comes_first_in_a_sentence() -> None:
    page = comparison_page(comparison())
    sentence = (
        "Sharing helps 1 of 4 tasks (section), hurts 1 (entities), makes no relevant difference to 1 (similarity) "
        "and is inconclusive for 1 (answers)."
    )
    assert sentence in page
    assert page.index(sentence) < page.index("<figure")


def test_what_each_task_lost_against_the_starting_model_stands_in_a_table() -> None:
    said = comparison()
    page = comparison_page(said)
    text = re.sub("<[^>]*>", " ", page[page.index('id="start"') : page.index('id="tasks"')])
    text = " ".join(text.split())
    assert "The runs start from runs/clinic , which answered the same test data. Lost: entities. Won: section. Undecided: answers." in text
    assert "entities F1 test, 216 documents 67.1 64.7 −2.40 −3.00 −1.80 0.030 ▼ lost" in text
    assert "similarity not compared, as the model answers OTHER, which the run dropped, on some of the data" in text
    del said["start"]
    assert 'id="start"' not in comparison_page(said)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("helps", "helps"), "Sharing helps 2 of 2 tasks (t0, t1)."),
        (("hurts", "helps"), "Sharing helps 1 of 2 tasks (t1) and hurts 1 (t0)."),
        (("inconclusive", "inconclusive"), "Sharing is inconclusive for 2 of 2 tasks (t0, t1)."),
        (("hurts",), "Sharing hurts t0."),
        (("inconclusive",), "The comparison is inconclusive for t0."),
        ((), "No task has been compared yet."),
    ],
)
def test_the_sentence_counts_verdicts(words: tuple[str, ...], sentence: str) -> None:
    assert verdicts(*words) == sentence


def test_labels_of_users_are_text_wherever_they_stand() -> None:
    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {renamed(key) if key not in KEYS else key: renamed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [renamed(one) for one in value]
        return value.replace("entities", HOSTILE).replace("layers 1-2", HOSTILE) if isinstance(value, str) else value

    said = comparison()
    said["run"] = said["remedy"]["name"] = HOSTILE
    for task in said["tasks"].values():
        task["why"] = HOSTILE
    for task in ("entities", "section"):
        said["tasks"][task]["advice"] = dict.fromkeys(("remedy", "reason", "cost"), HOSTILE) | {
            "changes": {HOSTILE: HOSTILE}
        }
    found = check(comparison_page(renamed(said)))
    assert "script" not in found.tags


KEYS = set(comparison())


def test_a_comparison_that_has_only_begun_says_so_and_shows_what_there_is() -> None:
    said = {"run": "run.yaml", "seeds": [0], "complete": False, "tasks": {"entities": {"verdict": "inconclusive"}}}
    page = comparison_page(said)
    assert "not complete" in page
    assert "With 1 seed no two-sided sign-flip test" in page
    assert outline(comparison_page({})).headings == ["h1"]


@pytest.mark.parametrize("key", ["groups", "pairs", "affinity", "pull"])
def test_any_part_of_the_diagnostics_may_be_missing(key: str) -> None:
    said = comparison()
    del said["diagnostics"][key]
    check(comparison_page(said))


def test_how_fast_each_task_moves_what_is_shared_is_shown_of_those_that_are_known() -> None:
    said = comparison()
    said["diagnostics"]["pull"]["entities"] = {"value": 0.123, "low": None, "high": None}
    page = comparison_page(said)
    assert "How strongly does each task pull the shared encoder?" in page
    assert "0.123" in page
    said["diagnostics"]["pull"] = {"somebody": {"value": 0.5}, "entities": {"value": None}}
    assert "How strongly does each task" not in comparison_page(said)


def test_a_pair_is_named_in_the_order_in_which_its_ratio_is_meant() -> None:
    said = comparison()
    pairs = said["diagnostics"]["pairs"]
    pairs["section|entities"] = pairs.pop("entities|section")
    page = comparison_page(said)
    assert "section × entities" in page
    assert "entities × section" not in page


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 0.999), st.sampled_from(["gone", None, "text", [], {}, -1])), min_size=1, max_size=4
    )
)
def test_whatever_is_missing_or_odd_is_left_out(changes: list[tuple[float, Any]]) -> None:
    said = comparison()
    for share, value in changes:
        found = places(said)
        holder, key = found[int(share * len(found))]
        if value == "gone" and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = value
    outline(comparison_page(said))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (object, key) and (list, index) in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *places(value[key]))]


def test_single_models_at_their_own_best_are_shown_with_their_rates_and_the_twins_beside() -> None:
    entry = {
        "own": {"learning_rate": 2e-4, "factor": 2.0, "tried": [
            {"factor": 1.0, "learning_rate": 1e-4, "validation": 0.81}, {"factor": 2.0, "learning_rate": 2e-4, "validation": 0.824},
        ]},
        "twin": {"single": [0.7, 0.72], "verdict": "helps", "difference": {"mean": 0.05, "low": 0.03, "high": 0.07}},
        "single": [0.8, 0.82], "shared": [0.76, 0.76], "verdict": "no worse",
    }  # fmt: skip
    page = comparison_page({"single": "best", "seeds": [0, 1], "tasks": {"entities": entry}})
    for shown in ("Single models", "0.0001: 81.0, 0.0002: 82.4", "71.0", "+5.0", "≥", "no worse", "its own recipe"):
        assert shown in page
    plain = comparison_page({"seeds": [0, 1], "tasks": {"entities": {"single": [0.8], "shared": [0.8]}}})
    assert "Single models</h2>" not in plain
    assert "the same examples of the task" in plain
