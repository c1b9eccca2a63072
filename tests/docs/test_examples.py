"""The documentation holds: every YAML example is a run file, every key has its row with its default, every choice its name."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from manyheads.balance import BALANCERS, build_balancer, options_of
from manyheads.config import data_section, schema, strategies, task_section
from manyheads.config.files import parse_run
from manyheads.config.schema import Run
from manyheads.data.sampler import METHODS
from manyheads.tasks import TASK_TYPES
from manyheads.training.phases import NAMED_PHASES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TASKS = """
tasks:
  entities: {type: token-classification, data: {train: a.conll}}
  section: {type: text-classification, data: {train: a.csv}}
  answers: {type: question-answering, data: {train: a.json}}
  similarity: {type: sentence-embedding, data: {train: b.csv}}
"""
"""What a fragment without tasks is completed with: the tasks of the README."""

OF_EVERY_TASK = set(task_section.TaskSection.model_fields)
SECTIONS: dict[str, list[type[BaseModel]]] = {
    "The whole file": [Run],
    "encoder": [schema.Encoder],
    "tasks": [task_section.TaskSection],
    "tasks: data": [data_section.Data, data_section.SourceData],
    **{kind: [task_section.section_of(kind)] for kind in TASK_TYPES},
    "token-classification: entities by name": [task_section.section_of("token-classification", {"by_name": True})],
    "text-classification: sentences": [task_section.section_of("text-classification", {"unit": "sentence"})],
    "text-classification: labels by name": [task_section.section_of("text-classification", {"by_name": True})],
    "sentence-embedding: sparse": [task_section.section_of("sentence-embedding", {"vectors": "sparse"})],
    "sentence-embedding: multi": [task_section.section_of("sentence-embedding", {"vectors": "multi"})],
    "sharing": [strategies.Sharing],
    "lora": [strategies.Lora],
    "training": [schema.Training],
    "training: freeze": [strategies.Freeze],
    "training: phases": [strategies.PhaseSection],
    "training: sampling": [strategies.Sampling],
    "training: balancing": [strategies.Balancing],
    "training: teachers": [strategies.TeacherSection],
    "training: guard": [schema.Guard],
}
"""Which settings each heading of docs/run-file.md documents."""


@dataclass(frozen=True)
class Row:
    """One row of a table of keys."""

    key: str
    default: str
    meaning: str


def fenced(page: Path) -> list[tuple[int, str]]:
    """Line and text of each YAML example."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 2, match.group(1)) for match in found]


def under(heading: str) -> str:
    """What docs/run-file.md says under a heading, up to the next one."""
    text = (ROOT / "docs" / "run-file.md").read_text(encoding="utf-8")
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]


def tables(text: str, first: str) -> list[list[list[str]]]:
    """Cells of the rows of each table whose first column is called `first`."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells[0] == first:
            inside = True
            found.append([])
        elif inside and set(cells[0]) != {"-"}:
            found[-1].append(cells)
    return found


def rows_of(heading: str) -> dict[str, Row]:
    """The rows of a heading's tables of keys, by key."""
    cells = [row for table in tables(under(heading), "key") for row in table]
    return {row[0].strip("`"): Row(row[0].strip("`"), row[1], row[2]) for row in cells}


def is_of_a_task(heading: str) -> bool:
    """Whether a heading documents the settings of a type of task, or of one of its forms."""
    return heading.partition(":")[0] in TASK_TYPES


def fields_of(heading: str) -> dict[str, FieldInfo]:
    """What the schema has for a heading; keys of every task stand once, with the tasks."""
    fields = {key: field for section in SECTIONS[heading] for key, field in section.model_fields.items()}
    return {key: field for key, field in fields.items() if not (is_of_a_task(heading) and key in OF_EVERY_TASK)}


def choices(annotation: Any) -> set[str]:
    """Every word that a key may be given literally."""
    if get_origin(annotation) is Literal:
        return {str(value).lower() if isinstance(value, bool) else str(value) for value in get_args(annotation)}
    return {word for part in get_args(annotation) for word in choices(part)}


OF_OTHERS = {"kubernetes.md"}
"""Pages whose YAML is for other programs."""
EXAMPLES = [
    pytest.param(text, id=f"{page.name}:{line}")
    for page in PAGES
    if page.exists() and page.name not in OF_OTHERS
    for line, text in fenced(page)
]


@pytest.fixture
def _own_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """The type of docs/new-task.md, as if its package were installed."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "ordinal-regression"))
    cls = importlib.import_module("manyheads_ordinal").OrdinalRegression
    monkeypatch.setitem(TASK_TYPES._known, cls.kind, cls)


@pytest.mark.usefixtures("_own_types")
@pytest.mark.parametrize("text", EXAMPLES)
def test_every_yaml_example_is_a_run_file_or_becomes_one_with_tasks(text: str) -> None:
    whole = text if re.search(r"^tasks:", text, re.MULTILINE) else text + TASKS
    run = parse_run(whole, "example.yaml")
    named = {
        *(task for members in run.sharing.groups.values() for task in members),
        *run.training.sampling.shares,
        *run.training.teachers,
        *(key.partition(".")[0] for key in run.training.select),
        *run.training.freeze.heads,
        *(task for phase in phases_of(run) for task in phase.freeze.heads),
    }
    assert named <= set(run.tasks)
    for key in run.training.select:
        task, _, metric = key.partition(".")
        assert metric in TASK_TYPES[run.tasks[task].type].metric_names
    balancing = run.training.balancing
    weights = {name: task.weight for name, task in run.tasks.items()}
    build_balancer(balancing.method, weights, run.training.seed, balancing.options)


def phases_of(run: Run) -> list[strategies.PhaseSection]:
    """The phases of a list; none of a plan."""
    return run.training.phases if isinstance(run.training.phases, list) else []


def test_there_are_examples_of_every_section() -> None:
    keys: set[str] = set()
    for example in EXAMPLES:
        values = yaml.safe_load(str(example.values[0])) or {}
        keys |= {*values, *(f"training.{key}" for key in values.get("training", {}))}
    wanted = {
        "sharing",
        "lora",
        *(f"training.{key}" for key in ("freeze", "phases", "sampling", "balancing", "select")),
    }
    assert wanted <= keys


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_tables_have_a_row_for_every_key_and_for_nothing_else(heading: str) -> None:
    assert set(rows_of(heading)) == set(fields_of(heading))


def test_no_section_of_the_schema_is_without_a_heading() -> None:
    known = {section for heading, sections in SECTIONS.items() for section in sections if not is_of_a_task(heading)}
    modules = {data_section, schema, strategies, task_section}
    defined = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, BaseModel)
        and value.__module__ in {m.__name__ for m in modules}
    }
    assert defined == known


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_defaults_in_the_tables_are_those_of_the_schema(heading: str) -> None:
    fields = fields_of(heading)
    for key, row in rows_of(heading).items():
        field = fields[key]
        if field.is_required():
            assert row.default == "required", key
        elif isinstance(field.default, str | int | float):  # bool is an int
            assert re.fullmatch(r"`[^`]+`", row.default), f"{key}: write its default, {field.default!r}, as code"
            assert yaml.safe_load(row.default.strip("`")) == field.default, key
        else:
            assert row.default not in {"", "required"}, f"{key}: say what happens without it"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_choice_of_a_key_is_named(heading: str) -> None:
    text = under(heading)
    for key, field in fields_of(heading).items():
        unnamed = {word for word in choices(field.annotation) if f"`{word}`" not in text}
        assert not unnamed, f"{key}: {unnamed}"


def test_every_type_of_task_is_named_and_every_key_of_its_own_is_described() -> None:
    assert re.findall(r"`([^`]+)`", rows_of("tasks")["type"].meaning) == list(TASK_TYPES)
    for kind in TASK_TYPES:
        assert not [key for key, field in fields_of(kind).items() if not field.description]


def test_sampling_methods_and_plans_are_in_their_tables_and_on_the_page_of_strategies() -> None:
    strategies_page = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    sampling = {row[0].strip("`") for row in tables(under("training: sampling"), "method")[0]}
    assert sampling == set(METHODS)
    assert {row[0].strip("`") for row in tables(under("training: phases"), "plan")[0]} == set(NAMED_PHASES)
    for name in METHODS:
        assert f"| `{name}`" in strategies_page
    for name in NAMED_PHASES:
        assert f"| `phases: {name}`" in strategies_page


def test_balancing_methods_have_their_options_and_defaults_in_the_table_and_a_row_among_the_strategies() -> None:
    shown = {row[0].strip("`"): row[1] for row in tables(under("training: balancing"), "method")[0]}
    assert list(shown) == list(BALANCERS)
    for method, cell in shown.items():
        options = {name: float(value) for name, value in re.findall(r"`(\w+)` ([\d.]+)", cell)}
        assert options == options_of(method), method
    page = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    assert not [method for method in BALANCERS if f"| `{method}`" not in page]


def test_the_metrics_of_select_are_those_of_the_task_types_and_the_main_one_stands_first_or_where_it_applies() -> None:
    table = {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in tables(under("training: select"), "type")[0]}
    assert set(table) == set(TASK_TYPES)
    for kind, metrics in table.items():
        assert sorted(metrics) == sorted(TASK_TYPES[kind].metric_names)
        assert metrics[0] == TASK_TYPES[kind].main_metric


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get when it is shown."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_every_link_to_a_file_or_heading_of_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_source_that_the_strategies_cite_is_listed() -> None:
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    body, _, sources = text.partition("## Sources")
    body = " ".join(body.partition("## Our own measurements")[0].split())  # measurements have dates of their own
    listed = set(re.findall(r"^- (?:van der )?(\w+).*? ((?:19|20)\d\d[ab]?), ", sources, re.MULTILINE))
    cited = set(re.findall(r"([A-Z][\wé]+)(?: & [A-Z]\w+| et al\.)?(?:,| \()? ?((?:19|20)\d\d[ab]?)", body))
    assert len(listed) == sources.count("\n- ")
    assert cited == listed


def test_the_page_of_strategies_has_one_place_for_measurements() -> None:
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    assert text.count("<!-- strategies:begin -->") == text.count("<!-- strategies:end -->") == 1
    assert text.index("<!-- strategies:begin -->") < text.index("<!-- strategies:end -->")
