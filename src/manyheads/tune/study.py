"""What has been tried, and what is tried next: Optuna's sampler (TPE), its pruner and its journal.

Decided here: a proposal is a function of the seed, its number and what is in the journal; no state of random generators is
kept in memory. So a tuning that is killed proposes what it would have proposed. Trials fall out at a quarter and at half of
their own length when they are not in the better half there (successive halving, Li et al. 2020): lengths differ, since
they are tuned, and a learning rate's schedule ends with them.
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
"""Of a trial's length: evaluations are placed by them."""
FIRST_RUNG, HALVING = 2, 2
"""Parts before the first rung, and how many times more before the next: rungs are at 2 and 4 parts."""
ENOUGH = 8
"""Finished trials from which on it is said which settings matter."""
IDENTITY, WORDS, OUTCOME = "identity", "words", "outcome"


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried."""

    number: int
    values: Mapping[str, Value]
    live: Any = None
    """Optuna's own; None of trials that are over."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a trial."""

    trial: Trial
    state: str
    """finished, pruned, diverged, repeated or interrupted."""
    score: float | None
    """Of the finished: the combined validation score of the model that it would keep."""
    evaluations: Sequence[tuple[float, float]]
    """Parts of its length, 0 to 1, and combined scores there."""
    words: str
    """Why it has no score."""


class Study:
    """The journal of a tuning. One process at a time has it open."""

    def __init__(self, folder: Path, space: Space, *, seed: int, identity: str) -> None:
        """Opens or begins it. Raises UsageError for a journal that is damaged, or of another tuning."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self._seed = space, seed
        path = folder / JOURNAL
        _mend(path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
            self._study = optuna.create_study(
                storage=storage, study_name=NAME, direction="maximize", load_if_exists=True,
                pruner=SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=HALVING),
            )  # fmt: skip
        except (ValueError, KeyError, json.JSONDecodeError) as error:
            raise UsageError(f"{path} cannot be read ({error}); give -o a new folder") from None
        known = self._study.user_attrs.get(IDENTITY)
        if known is None:
            self._study.set_user_attr(IDENTITY, identity)
        elif known != identity:
            raise UsageError(f"{folder} holds a tuning of another run file, other data, another encoder or other --keys; "
                             "give -o a new folder")  # fmt: skip
        if not self._study.trials:
            self._study.enqueue_trial(space.usual)

    def unfinished(self) -> list[Trial]:
        """Trials that were under way when the tuning was last stopped."""
        return [
            self._live(optuna.trial.Trial(self._seeded(each.number), each._trial_id))
            for each in self._study.get_trials(states=(TrialState.RUNNING,))
        ]

    def propose(self) -> Trial:
        """A further trial; the first one has the usual values."""
        return self._live(self._seeded(len(self._study.get_trials(deepcopy=False))).ask())

    def count(self) -> int:
        """Trials that were begun and were not repetitions."""
        states = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
        return len(self._study.get_trials(deepcopy=False, states=states))

    def report(self, trial: Trial, step: int, steps: int, score: float) -> bool:
        """Note an evaluation; whether the trial falls out by it."""
        part = PARTS * step // steps
        if part not in self._of(trial).intermediate_values:
            trial.live.report(score, part)
        return part < PARTS and bool(trial.live.should_prune())

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """It came to its end."""
        trial.live.set_user_attr(OUTCOME, asdict(outcome))
        self._study.tell(trial.number, outcome.score)

    def outcome(self, number: int) -> Outcome | None:
        """What a trial came to; None where it did not come to its end."""
        each = self._study.trials[number]
        return Outcome(**each.user_attrs[OUTCOME]) if each.state is TrialState.COMPLETE else None

    def prune(self, trial: Trial) -> None:
        """It fell out."""
        self._study.tell(trial.number, state=TrialState.PRUNED)

    def diverge(self, trial: Trial, words: str) -> None:
        """A guard ended it. Without a score it counts as worse than any other."""
        trial.live.set_user_attr(WORDS, words)
        self._study.tell(trial.number, state=TrialState.PRUNED)

    def repeat(self, trial: Trial, words: str) -> None:
        """Its settings have been tried: it counts for nothing."""
        trial.live.set_user_attr(WORDS, words)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def tried(self) -> list[Tried]:
        """All trials in order."""
        begun = [each for each in self._study.trials if each.state is not TrialState.WAITING]
        return [self._tried(each) for each in begun]

    def importance(self) -> dict[str, float]:
        """How much of the differences of finished trials each setting explains, 0 to 1; nothing of few trials.

        PED-ANOVA, Watanabe et al. 2023.
        """
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < ENOUGH or len({each.value for each in done}) < 2:
            return {}
        return dict(optuna.importance.get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator()))

    def _seeded(self, number: int) -> optuna.Study:
        """Optuna's study, ready to propose the values of a number."""
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed, constant_liar=True)
        return self._study

    def _live(self, trial: optuna.trial.Trial) -> Trial:
        values = {setting.name: _suggested(trial, setting) for setting in self.space.settings}
        return Trial(trial.number, values, trial)

    def _of(self, trial: Trial) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[trial.number]

    def _tried(self, each: FrozenTrial) -> Tried:
        words = str(each.user_attrs.get(WORDS, ""))
        state = {
            TrialState.COMPLETE: "finished", TrialState.FAIL: "repeated", TrialState.RUNNING: "interrupted",
            TrialState.PRUNED: "diverged" if words else "pruned",
        }[each.state]  # fmt: skip
        values = {name: _plain(value) for name, value in each.params.items()}
        evaluations = [(part / PARTS, score) for part, score in sorted(each.intermediate_values.items())]
        score = each.value if each.state is TrialState.COMPLETE else None
        return Tried(Trial(each.number, values), state, score, evaluations, words)


def _suggested(trial: optuna.trial.Trial, setting: Setting) -> Value:
    if setting.choices:
        return str(trial.suggest_categorical(setting.name, setting.choices))
    if setting.whole:
        return trial.suggest_int(setting.name, int(setting.low), int(setting.high), log=setting.low > 1)
    return _plain(trial.suggest_float(setting.name, setting.low, setting.high, log=True))


def _plain(value: Any) -> Value:
    return rounded(value) if isinstance(value, float) else value


def _mend(path: Path) -> None:
    """Remove the lock of a process that was killed, and a line that it had not finished: nobody else has the journal."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if path.exists():
        with path.open("r+b") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)
