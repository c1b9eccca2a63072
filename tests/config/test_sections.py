"""Sections of the run file follow from the task classes, those of other packages too."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import yaml
from annotated_types import Gt, Lt

from manyheads.bundle.tasks import tasks_of
from manyheads.config.files import as_given, parse_run
from manyheads.config.schema import json_schema
from manyheads.config.task_section import section_of, task_of
from manyheads.errors import BundleError, ConfigError
from manyheads.tasks import TASK_TYPES, describe
from manyheads.tasks.settings import DERIVED, NAMES, Doc, Stride
from manyheads.tasks.text_classification import TextClassification


@dataclass(frozen=True, kw_only=True)
class Grades(TextClassification):
    """Grades that have an order."""

    kind: ClassVar[str] = "grades"

    steps: Annotated[int, Gt(0), Lt(10), Doc("how many grades there are")]
    grades: Annotated[tuple[str, ...], NAMES] = ("low", "high")
    cuts: tuple[tuple[float, float], ...] = field(default_factory=lambda: ((0.0, 1.0),))
    overlap: Stride = 8
    slope: Annotated[float, Gt(0), DERIVED] = 1.0

    def __post_init__(self) -> None:
        if len(self.grades) > self.steps:
            raise ValueError(f"there are {len(self.grades)} grades for {self.steps} steps")


BUNDLE = Path("manyheads.json")
GOOD = """tasks:
  g:
    type: grades
    data: {train: a.csv}
    steps: 3
"""


@pytest.fixture
def _grades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASK_TYPES._known, "grades", Grades)


@pytest.mark.usefixtures("_grades")
def test_a_type_from_elsewhere_has_its_keys_with_types_bounds_and_defaults() -> None:
    run = parse_run(GOOD + "    grades: [1, 2, 3]\n    cuts: [[0, 1], [1, 2]]\n    dropout: 0\n", "run.yaml")
    assert task_of("g", run.tasks["g"]) == Grades(
        name="g", steps=3, grades=("1", "2", "3"), cuts=((0.0, 1.0), (1.0, 2.0)), dropout=0.0
    )
    given = {"data": {"train": "a.csv"}, "steps": 3}
    assert as_given(parse_run(GOOD, "run.yaml"))["tasks"]["g"].items() >= given.items()
    assert parse_run(GOOD, "run.yaml", ["tasks.g.steps=4"]).tasks["g"].steps == 4  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_grades")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "    slope: 2\n",
            r"run.yaml:6: unknown key 'tasks.g.slope'; .* \(known here: data, .*steps, grades, cuts, overlap\)",
        ),
        ("    overlp: 2\n", r"run.yaml:6: unknown key 'tasks.g.overlp'; did you mean 'overlap'\?"),
        ("    overlap: -1\n", r"run.yaml:6: tasks.g.overlap: input should be greater than or equal to 0, seen -1"),
        ("    grades: low\n", r"run.yaml:6: tasks.g.grades: input should be a valid list, seen 'low'"),
        ("    grades: [yes]\n", r"run.yaml:6: tasks.g.grades: label true is a boolean in YAML"),
        ("    grades: [a, b, c, d]\n", r"run.yaml:2: tasks.g: there are 4 grades for 3 steps"),
    ],
)
def test_mistakes_in_it_are_told_as_in_any_other(more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run(GOOD + more, "run.yaml")
    with pytest.raises(ConfigError, match=r"tasks.g.steps is missing"):
        parse_run(GOOD.replace("    steps: 3\n", ""), "run.yaml")


@pytest.mark.usefixtures("_grades")
def test_a_model_folder_holds_it_to_the_same() -> None:
    task = Grades(name="g", steps=3)
    good = json.loads(json.dumps(describe(task)))
    assert tasks_of({"tasks": {"g": good}}, BUNDLE)["g"].describe() == task.describe()
    for change in ({"slope": 0.0}, {"steps": 10}, {"grades": ["a", "a"]}, {"cuts": [[0.0]]}, {"cuts": [[0.0, 1e999]]}):
        with pytest.raises(BundleError, match=f"has '{next(iter(change))}'"):
            tasks_of({"tasks": {"g": good | change}}, BUNDLE)
    with pytest.raises(BundleError, match="there are 2 grades for 1 steps"):
        tasks_of({"tasks": {"g": good | {"steps": 1}}}, BUNDLE)


def test_a_type_is_unknown_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"run.yaml:2: tasks.g has type 'grades'; the types are token-classification, "
    ):
        parse_run(GOOD, "run.yaml")
    monkeypatch.setitem(TASK_TYPES._known, "grades", Grades)
    assert parse_run(GOOD, "run.yaml").tasks["g"].type == "grades"
    with pytest.raises(ConfigError, match=r"the types are .*, grades$"):
        parse_run(GOOD.replace("grades", "marks"), "run.yaml")


@pytest.mark.parametrize("kind", TASK_TYPES)
def test_every_field_is_a_key_or_is_settled(kind: str) -> None:
    settled = {"name", "multi_label", "thresholds", "temperature", "score_bias", "label_weights", "places", "no_answer",
               "no_answer_threshold", "activation", "standards", "types", "absent", "triples", "most_words", "frequency", "concepts",
               "tuned_threshold", "may_overlap", "sequences", "linear", "dictionary", "weights", "none_logit", "highest"}  # fmt: skip
    names = {each.name for each in fields(TASK_TYPES[kind])}
    assert names - set(section_of(kind).model_fields) == names & settled


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("token-classification", "name weight by_name labels decoder dropout stride join_sentences overlap may_overlap sequences unit places threshold temperature "
                                 "score_bias"),
        ("text-classification", "name weight unit by_name labels multi_label class_weights threshold thresholds temperature label_weights "
                                "pooling dropout hidden stride"),
        ("question-answering", "name weight doc_stride max_answer_length n_best top dropout no_answer no_answer_threshold "
                               "temperature score_bias"),
        ("sentence-embedding", "name weight vectors pooling projection activation linear layer_norm normalize objective scale "
                               "margin score_range matryoshka stride prompts default_prompt_name"),
    ],
)  # fmt: skip
def test_settings_are_described_in_one_order_as_plain_json(kind: str, keys: str) -> None:
    settings = TASK_TYPES[kind](name="a").describe()
    assert list(settings) == keys.split()
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.usefixtures("_grades")
def test_the_json_schema_has_every_type_with_descriptions() -> None:
    schema = json_schema()
    assert set(schema["properties"]["tasks"]["additionalProperties"]["discriminator"]["mapping"]) == set(TASK_TYPES)
    assert schema["$defs"]["GradesSection"]["properties"]["steps"]["description"] == "how many grades there are"


@pytest.mark.usefixtures("_grades")
def test_the_json_schema_says_what_the_parser_says() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with ray alone")
    check = jsonschema.Draft202012Validator(json_schema())
    assert not list(check.iter_errors(yaml.safe_load(GOOD)))
    for wrong in (
        GOOD + "    foo: 1\n",
        GOOD + "    slope: 1\n",
        GOOD + "    dropout: 1\n",
        GOOD.replace("grades", "x"),
    ):
        assert list(check.iter_errors(yaml.safe_load(wrong))), wrong
