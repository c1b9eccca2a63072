"""Settings to phases, and what is refused before any training, with the key to blame and the known names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manyheads.cli import main
from manyheads.config.files import load_run
from manyheads.config.phases import duration_key
from manyheads.errors import ConfigError, UsageError
from manyheads.training.phases import Freeze
from plans import plan

PHASES = "training.phases=[{}]"
NO_STEPS = "training.steps=null"

REFUSED = {
    "a head that no phase trains": (
        [NO_STEPS, PHASES.format("{steps: 2, freeze: {heads: [section]}}, {steps: 1, freeze: {heads: [section, answers]}}")],
        "training.phases: no phase trains the head of 'section'; leave it out of one phase's freeze "
        "(heads: entities, section, answers, similarity)",
    ),
    "a head frozen all the way": (
        ["training.freeze={heads: [section]}"],
        "training.freeze: no phase trains the head of 'section'",
    ),
    "a phase that trains nothing": (
        [NO_STEPS, PHASES.format("{name: idle, steps: 2, freeze: {encoder: true, heads: [entities, section, answers, similarity]}}, {steps: 1}")],
        "training.phases: phase 'idle' trains nothing",
    ),
    "a phase with everything frozen": (
        [NO_STEPS, PHASES.format("{steps: 2}, {steps: 2, freeze: all}")],
        "training.phases: phase 'phase 2' trains nothing",
    ),
    "layers beyond the depth": (
        ["training.freeze={layers: 3}"],
        "training.freeze.layers includes layer 2, but the encoder has layers 0 to 1",
    ),
    "layers of a phase beyond the depth": (
        [NO_STEPS, PHASES.format("{steps: 2}, {steps: 2, freeze: {layers: [0, 7]}}")],
        "training.phases.1.freeze.layers includes layer 7, but the encoder has layers 0 to 1",
    ),
    "an unknown head": (
        [NO_STEPS, PHASES.format("{steps: 2, freeze: {heads: [sections]}}")],
        "training.phases.0.freeze.heads: there is no task 'sections'; the tasks are entities, section, answers, similarity",
    ),
    "an unknown task to select": (
        ["training.select={entites.f1: 1}"],
        "training.select: entites.f1: there is no task 'entites'; the tasks are entities, section, answers, similarity",
    ),
    "an unknown metric to select": (
        ["training.select={entities.f2: 1}"],
        "training.select: entities.f2: token-classification has no metric 'f2'; did you mean 'f1'? (known: f1, precision,",
    ),
    "a metric without validation data": (
        ["training.select={section.accuracy: 1}", "tasks.section.data.validation=null", "tasks.section.validation_fraction=0"],
        "training.select: section.accuracy: 'section' has no validation data",
    ),
    "an unknown way of balancing": (
        ["training.balancing=gradnrm"],
        "training.balancing: no balancing method is called 'gradnrm'; did you mean 'gradnorm'? (known: static, equal-norm, adatask, uncertainty,",
    ),
    "an unknown option of balancing": (
        ["training.balancing={method: gradnorm, options: {alpa: 1}}"],
        "training.balancing: balancing by gradnorm has no option 'alpa'; did you mean 'alpha'? (known: alpha, rate)",
    ),
    "an option out of bounds": (
        ["training.balancing={method: gradnorm, options: {alpha: -1}}"],
        "training.balancing: balancing by gradnorm: alpha is -1.0; give a number of at least 0",
    ),
    "a share for an unknown task": (
        ["training.sampling={method: fixed, shares: {entities: 1, sections: 1}}"],
        "training.sampling: sampling shares: there is no task sections; the tasks are entities, section, answers",
    ),
    "a share that is missing": (
        ["training.sampling={method: fixed, shares: {entities: 1, section: 1}}"],
        "training.sampling: sampling shares: none for answers, similarity",
    ),
    "a task that starts after the run": (
        ["tasks.section.start_step=12"],
        "tasks.section.start_step is 12, but training ends after 12 steps",
    ),
    "steps in which nobody trains": (
        [f"tasks.{task}.start_step=2" for task in ("entities", "section", "answers", "similarity")],
        "training.sampling: no task is active in steps 0 to 1",
    ),
    "fp16 on a CPU": (
        ["training.precision=fp16"],
        "training.precision is fp16, which needs a CUDA device; use float32 or bf16 on a CPU",
    ),
    "patience of a task without validation data": (
        ["tasks.section.patience=2", "tasks.section.data.validation=null", "tasks.section.validation_fraction=0"],
        "tasks.section.patience waits for better scores, but there is no validation data",
    ),
    "shared layers beyond the depth": (
        ["sharing.shared_layers=3"],
        "sharing.shared_layers is 3, but the encoder has 2 layers; use 0 to 2",
    ),
}  # fmt: skip

AT_ITS_LINE = {
    "epochs beside phases": ("  phases: [{steps: 2}]\n  epochs: 2\n", "training: phases have their own durations; remove epochs"),
    "epochs and steps": ("  epochs: 2\n  steps: 2\n", "training: set either epochs or steps, not both"),
    "a phase without a duration": ("  phases:\n  - {steps: 2}\n  - {name: x}\n", "training.phases.1: a phase needs either epochs or steps"),
    "a phase with two durations": ("  phases:\n  - {steps: 2, epochs: 1}\n", "training.phases.0: a phase needs either epochs or steps"),
    "no phase": ("  phases: []\n", "training.phases: list should have at least 1 item"),
    "an unknown plan": ("  phases: grdual\n", "training.phases: input should be 'heads-then-all', 'gradual' or 'thirds', seen 'grdual'"),
    "freeze beside phases": ("  phases: gradual\n  freeze: encoder\n", "training: each phase sets what is frozen; remove freeze"),
    "an unknown thing to freeze": ("  freeze: bottom\n", "training.freeze"),
    "a negative rate": ("  layer_decay: 1.5\n", "training.layer_decay: input should be less than or equal to 1"),
    "an unknown schedule": ("  schedule: sine\n", "training.schedule: input should be 'linear', 'cosine' or 'constant'"),
    "a typing error in a phase": ("  phases:\n  - {steps: 2, freze: encoder}\n", "unknown key 'training.phases.0.freze'; did you mean 'freeze'? (known here: name, epochs"),
    "a select weight of 0": ("  select: {entities.f1: 0}\n", "training.select.entities.f1: input should be greater than 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_with_its_key_and_the_known_names(name: str, project: Path) -> None:
    options, message = REFUSED[name]
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        plan(project, *options)
    assert not (project.parent / "runs").exists()


@pytest.mark.parametrize("verb", ["validate", "train"])
@pytest.mark.parametrize("name", ["a head that no phase trains", "an unknown way of balancing", "fp16 on a CPU"])
def test_validate_and_train_refuse_with_one_sentence(
    name: str, verb: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, message = REFUSED[name]
    assert main([verb, str(project), *(word for option in options for word in ("--set", option))]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize("name", AT_ITS_LINE)
def test_what_the_schema_refuses_is_named_by_its_line(name: str, project: Path) -> None:
    more, message = AT_ITS_LINE[name]
    text = project.read_text()
    section, line = (text[: text.index(key)].count("\n") + 1 for key in ("training:", "  steps: 12"))
    project.write_text(text.replace("  steps: 12\n", more))
    with pytest.raises(ConfigError) as caught:
        plan(project)
    found = re.match(r"(.*):(\d+): (.*)", str(caught.value))
    assert found, str(caught.value)
    assert found[1] == str(project)
    assert section <= int(found[2]) < line + more.count("\n")
    assert found[3].startswith(message)


def test_weights_that_are_all_zero_are_refused_at_the_tasks(project: Path) -> None:
    text = re.sub(r"(\n    type: .*)", r"\1\n    weight: 0", project.read_text())
    project.write_text(text)
    with pytest.raises(
        ConfigError, match=r"run.yaml:3: tasks: all task weights are 0 \(entities, section, answers"
    ):
        plan(project)


def test_a_task_that_stops_before_it_starts_is_refused_at_its_line(project: Path) -> None:
    project.write_text(project.read_text().replace("decoder: crf", "decoder: crf\n    start_step: 5\n    stop_step: 5"))
    with pytest.raises(
        ConfigError, match=r"run.yaml:8: tasks.entities.stop_step: must be after start_step, which is 5, seen 5"
    ):
        plan(project)


# Settings to phases


def test_without_phases_there_is_one_for_all_steps(project: Path) -> None:
    made = plan(project, "training.warmup=0.25", "training.schedule=cosine", "training.freeze={layers: 1}")
    [phase] = made.phases
    assert (phase.name, phase.steps, phase.warmup, phase.curve, phase.patience) == ("all", 12, 3, "cosine", None)
    assert phase.freeze == Freeze(embeddings=True, layers=frozenset({0}))


def test_frozen_layers_are_counted_from_the_bottom_or_named(project: Path) -> None:
    frozen = {
        "{layers: 2}": Freeze(embeddings=True, layers=frozenset({0, 1})),
        "{layers: 1, embeddings: false}": Freeze(layers=frozenset({0})),
        "{layers: [1]}": Freeze(layers=frozenset({1})),
        "embeddings": Freeze(embeddings=True),
        "encoder": Freeze(encoder=True),
        "{}": Freeze(),
    }
    for text, freeze in frozen.items():
        assert plan(project, f"training.freeze={text}").phases[0].freeze == freeze


def test_frozen_altogether_is_a_plan_of_no_steps(project: Path) -> None:
    made = plan(project, "training.freeze=all")
    assert made.steps == 0
    assert all(phase.freeze.everything for phase in made.phases)


def test_a_phase_takes_from_training_what_it_does_not_say(project: Path) -> None:
    phases = ("{steps: 10}, {epochs: 2, learning_rate: 2e-4, head_learning_rate: 7e-3, layer_decay: 0.5, schedule: constant, "
              "warmup: 0.5, patience: 4, name: late}, {epochs: 0.5, learning_rate: 3e-4}")  # fmt: skip
    options = ("training.learning_rate=1e-4", "training.layer_decay=true", "training.warmup=0.2", "training.patience=3",
               "training.schedule=cosine", "tasks.section.learning_rate_factor=2")  # fmt: skip
    first, second, third = plan(project, NO_STEPS, PHASES.format(phases), *options).phases
    assert (first.name, first.steps, first.curve, first.warmup, first.patience) == ("phase 1", 10, "cosine", 2, 3)
    assert (first.rates.base, first.rates.head, first.rates.decay) == (1e-4, 1e-4, 0.95)
    assert (second.name, second.curve, second.patience) == ("late", "constant", 4)
    assert (second.rates.base, second.rates.head, second.rates.decay) == (2e-4, 7e-3, 0.5)
    assert second.warmup == round(0.5 * second.steps)
    assert third.steps == -(-second.steps // 4)
    assert (third.rates.base, third.rates.head) == (3e-4, 3e-4), "its own rate, for heads too where they have none"
    assert all(phase.rates.factors["section"] == 2 for phase in (first, second, third))


def test_a_head_rate_of_training_holds_in_phases_with_a_rate_of_their_own(project: Path) -> None:
    options = (NO_STEPS, PHASES.format("{steps: 1, learning_rate: 3e-4}"), "training.head_learning_rate=1e-2")
    [phase] = plan(project, *options).phases
    assert (phase.rates.base, phase.rates.head) == (3e-4, 1e-2)


def test_an_epoch_is_as_many_steps_as_hold_all_training_tokens(project: Path) -> None:
    made = plan(project, NO_STEPS, "training.epochs=3")
    tokens = sum(feed.stream.tokens_per_epoch for feed in made.trainer.batcher.feeds)
    assert made.steps == -(-3 * tokens // 256)
    assert plan(project, NO_STEPS).steps == made.steps, "three epochs when nothing is said"


# What `validate` prints


def shown(run: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The lines of the table of phases."""
    assert main(["validate", str(run), *(word for option in options for word in ("--set", option))]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("phase "))
    few = [line for line in lines[start:] if line.startswith("warning: training has ")]
    assert [line.endswith("raise training.steps") for line in few] == [True] * ("training.freeze=all" not in options)
    return [re.sub(r"  +", " | ", line) for line in lines[start:] if not line.startswith(("warning: ", "reports to: "))]


def test_validate_prints_phases_steps_trained_parameters_and_rates(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {part.name: f"{part.size:,}" for part in plan(project).trainer.parts}
    total = sum(int(size.replace(",", "")) for size in sizes.values())
    heads = sum(int(size.replace(",", "")) for name, size in sizes.items() if name.startswith("head"))
    lines = shown(project, capsys, "training.phases=heads-then-all", "training.layer_decay=0.5",
                  "training.head_learning_rate=0.01")  # fmt: skip
    assert lines == [
        "phase | steps | trained | learning rates at their highest",
        f"heads | 2 | {heads:,} | head entities .. head similarity 0.01",
        f"all | 10 | {total:,} | embeddings 0.00025, layer 0 0.0005, layer 1 0.001, head entities .. head similarity 0.01",
    ]


def test_validate_names_the_owners_of_private_layers(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("sharing.shared_layers=1", "tasks.section.learning_rate_factor=2", "training.freeze={layers: 1}")
    [_, line] = shown(project, capsys, *options)
    rates = (
        "entities: layer 1 0.001, section: layer 1 0.002, answers: layer 1 .. head entities 0.001, head section 0.002"
    )
    assert rates in line
    assert "embeddings" not in line


def test_validate_of_features_says_that_nothing_trains(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(project, capsys, "training.freeze=all")[1] == "all | 0 | 0 | none"


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ((), "epochs"),
        (("training.epochs=2",), "epochs"),
        (("training.steps=5",), "steps"),
        (("training.phases=heads-then-all", "training.steps=5"), "steps"),
        ((PHASES.format("{steps: 2}, {steps: 1}"),), "phases"),
    ],
)
def test_the_number_of_steps_follows_from_the_key_that_is_set(project: Path, settings: tuple[str, ...], key: str) -> None:
    assert duration_key(load_run(project, [NO_STEPS, *settings]).run.training) == key
