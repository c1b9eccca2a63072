"""Methods by name: what is unknown is answered with what is known."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from manyheads.balance import BALANCERS, build_balancer, options_of
from manyheads.errors import UsageError


def test_an_unknown_method_is_answered_with_the_nearest_and_all_names():
    with pytest.raises(UsageError, match=r"'gradnorn'; did you mean 'gradnorm'\? \(known: static, .*aligned-mtl\)"):
        build_balancer("gradnorn", {"a": 1}, 0, {})


def test_an_unknown_option_is_answered_with_the_nearest_and_all_names():
    with pytest.raises(
        UsageError, match=r"gradnorm has no option 'alhpa'; did you mean 'alpha'\? \(known: alpha, rate\)"
    ):
        build_balancer("gradnorm", {"a": 1}, 0, {"alhpa": 1.0})
    with pytest.raises(UsageError, match=r"static has no option 'seed' \(known: none\)"):
        build_balancer("static", {"a": 1}, 0, {"seed": 1})
    with pytest.raises(UsageError, match="random has no option 'seed'"):
        build_balancer("random", {"a": 1}, 0, {"seed": 1})


def test_options_reach_the_method():
    assert options_of("dwa") == {"temperature": 2.0, "window": 100}
    balancer = build_balancer("dwa", {"a": 1}, 0, {"window": 5.0})
    assert balancer.window == 5  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"window is 2\.5; give a whole number"):
        build_balancer("dwa", {"a": 1}, 0, {"window": 2.5})


@pytest.mark.parametrize("method", ["upgrad", "mgda", "imtl-g", "aligned-mtl"])
def test_a_missing_extra_is_named_before_training(method, monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match=rf'balancing by {method} needs TorchJD .*pip install "path/to/manyheads\[balance\]"'):
        build_balancer(method, {"a": 1, "b": 1}, 0, {})


@pytest.mark.long
def test_methods_of_our_own_load_neither_torchjd_nor_a_solver():
    code = (
        "import sys; from manyheads.balance import build_balancer\n"
        f"own = {[name for name in BALANCERS if name not in ('upgrad', 'mgda', 'imtl-g', 'aligned-mtl')]}\n"
        "for name in own: build_balancer(name, {'a': 1}, 0, {})\n"
        "assert not {'torchjd', 'cvxpy', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
