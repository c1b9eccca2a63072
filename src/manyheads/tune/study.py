"""Trials so far and the next proposal: Optuna's sampler (TPE), its pruner and its journal.

Decided here: a proposal is a function of the seed, its number and the journal, without random state in memory, so a tuning
that is killed makes the same proposals. Trials are pruned at a quarter and at half of their own length unless they are in
the better half there (successive halving, Li et al. 2020). Progress is measured by length because lengths are tuned, and
the learning rate schedule ends with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from manyheads.errors import UsageError
from manyheads.tune.space import Setting, Space, Value, rounded
from manyheads.tune.worker import Outcome

JOURNAL = "study.journal"
NAME = "tune"
PARTS = 8
"""Eighths of a trial's length, by which evaluations are compared."""
FIRST_RUNG, HALVING = 2, 2
"""Trials are pruned after 2 and after 2 * 2 parts."""
FEWEST_TRIALS = 8
"""Finished trials needed to estimate the importance of settings."""
IDENTITY, WORDS, OUTCOME = "identity", "words", "outcome"


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings to try."""

    number: int
    values: Mapping[str, Value]
    live: Any = None
    """Optuna's object of a running trial."""


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial and what came of it."""

    trial: Trial
    state: str
    """finished, pruned, diverged, repeated or interrupted."""
    score: float | None
    """The combined validation score of the model it would keep; None unless finished."""
    evaluations: Sequence[tuple[float, float]]
    """Fractions of its length, and combined scores there."""
    words: str
    """Why it has no score."""


class Study:
    """The journal of a tuning, open in one process at a time."""

    def __init__(self, folder: Path, space: Space, *, seed: int, identity: str) -> None:
        """Open the journal or start one. Raises UsageError if it is damaged or belongs to another tuning."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self._seed = space, seed
        path = folder / JOURNAL
        _repair(path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
            self._study = optuna.create_study(
                storage=storage, study_name=NAME, direction="maximize", load_if_exists=True,
                pruner=SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=HALVING),
            )  # fmt: skip
        except (ValueError, KeyError, json.JSONDecodeError) as error:
            raise UsageError(f"{path} cannot be read ({error}); give -o a new folder") from None
        stored = self._study.user_attrs.get(IDENTITY)
        if stored is None:
            self._study.set_user_attr(IDENTITY, identity)
        elif stored != identity:
            raise UsageError(f"{folder} holds a tuning of another run file, other data, another encoder or other --keys; "
                             "give -o a new folder")  # fmt: skip
        if not self._study.trials:
            self._study.enqueue_trial(space.defaults)

    def unfinished(self) -> list[Trial]:
        """Trials that were running when the tuning was last stopped."""
        return [
            self._live(optuna.trial.Trial(self._seeded(each.number), each._trial_id))
            for each in self._study.get_trials(states=(TrialState.RUNNING,))
        ]

    def propose(self) -> Trial:
        """The next trial; the first one has the default values."""
        return self._live(self._seeded(len(self._study.get_trials(deepcopy=False))).ask())

    def count(self) -> int:
        """Number of trials so far, without repetitions."""
        states = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
        return len(self._study.get_trials(deepcopy=False, states=states))

    def report(self, trial: Trial, step: int, steps: int, score: float) -> bool:
        """Record an evaluation; whether the trial is to be pruned."""
        part = PARTS * step // steps
        if part not in self._study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.live.report(score, part)
        return part < PARTS and bool(trial.live.should_prune())

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """Record a finished trial."""
        trial.live.set_user_attr(OUTCOME, asdict(outcome))
        self._study.tell(trial.number, outcome.score)

    def outcome(self, number: int) -> Outcome | None:
        """The outcome of a trial; None if it is not finished."""
        each = self._study.trials[number]
        return Outcome(**each.user_attrs[OUTCOME]) if each.state is TrialState.COMPLETE else None

    def prune(self, trial: Trial) -> None:
        """Record a pruned trial."""
        self._study.tell(trial.number, state=TrialState.PRUNED)

    def diverge(self, trial: Trial, words: str) -> None:
        """Record a diverged trial. Without a score it counts as worse than any other."""
        trial.live.set_user_attr(WORDS, words)
        self._study.tell(trial.number, state=TrialState.PRUNED)

    def repeat(self, trial: Trial, words: str) -> None:
        """Record a trial whose settings were tried before; it does not count."""
        trial.live.set_user_attr(WORDS, words)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def history(self) -> list[TrialRecord]:
        """All trials in order."""
        return [self._record(each) for each in self._study.trials if each.state is not TrialState.WAITING]

    def importance(self) -> dict[str, float]:
        """The share of the score differences that each setting explains, 0 to 1; empty for few finished trials.

        PED-ANOVA, Watanabe et al. 2023.
        """
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < FEWEST_TRIALS or len({each.value for each in done}) < 2:
            return {}
        return dict(optuna.importance.get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator()))

    def _seeded(self, number: int) -> optuna.Study:
        """Optuna's study with a sampler seeded for one trial."""
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed, constant_liar=True)
        return self._study

    def _live(self, trial: optuna.trial.Trial) -> Trial:
        values = {setting.name: _suggested(trial, setting) for setting in self.space.settings}
        return Trial(trial.number, values, trial)

    def _record(self, each: FrozenTrial) -> TrialRecord:
        words = str(each.user_attrs.get(WORDS, ""))
        state = {
            TrialState.COMPLETE: "finished", TrialState.FAIL: "repeated", TrialState.RUNNING: "interrupted",
            TrialState.PRUNED: "diverged" if words else "pruned",
        }[each.state]  # fmt: skip
        values = {name: _plain(value) for name, value in each.params.items()}
        evaluations = [(part / PARTS, score) for part, score in sorted(each.intermediate_values.items())]
        score = each.value if each.state is TrialState.COMPLETE else None
        return TrialRecord(Trial(each.number, values), state, score, evaluations, words)


def _suggested(trial: optuna.trial.Trial, setting: Setting) -> Value:
    if setting.choices:
        return str(trial.suggest_categorical(setting.name, setting.choices))
    if setting.whole:
        return trial.suggest_int(setting.name, int(setting.low), int(setting.high), log=setting.low > 1)
    return _plain(trial.suggest_float(setting.name, setting.low, setting.high, log=True))


def _plain(value: Any) -> Value:
    return rounded(value) if isinstance(value, float) else value


def _repair(path: Path) -> None:
    """Remove the lock and the unfinished line of a process that was killed; no other process has the journal open."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if path.exists():
        with path.open("r+b") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)
