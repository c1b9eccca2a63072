"""The bill of materials names what is needed at run time, at the pinned versions, and nothing else."""

import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Four packages: `top` needs `Left.Side`, and with its extra `right`; nobody asks for the extra of `left-side`."""
    _install(tmp_path, "top", "1.0+cpu", "Left.Side>=1", 'right; extra == "more"')
    _install(tmp_path, "Left.Side", "2.0", 'tester; extra == "test"', "top", 'winonly; sys_platform == "none"')
    _install(tmp_path, "right", "3.0")
    _install(tmp_path, "tester", "4.0")
    return tmp_path


def _install(folder: Path, name: str, version: str, *requires: str) -> None:
    info = folder / f"{name.replace('.', '_')}-{version}.dist-info"
    info.mkdir()
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    (info / "METADATA").write_text("\n".join(lines) + "\n\n")


def test_packages_are_those_that_are_asked_for_with_their_extras_and_markers(sbom: ModuleType, site: Path) -> None:
    installed = sbom.installed_in(site)
    assert sbom.needed(["top>=1"], installed) == {"left-side": ["top"], "top": ["left-side"]}
    assert sbom.needed(["top[more]"], installed) == {"left-side": ["top"], "right": [], "top": ["left-side", "right"]}


def test_extra_that_is_asked_for_second_is_still_followed(sbom: ModuleType, site: Path) -> None:
    graph = sbom.needed(["top", "top[more]", "left-side[test]"], sbom.installed_in(site))
    assert set(graph) == {"top", "left-side", "right", "tester"}
    assert graph["top"] == ["left-side", "right"]


def test_package_that_is_not_installed_is_named(sbom: ModuleType, site: Path) -> None:
    with pytest.raises(Exception, match=r"absent>=2 is not installed in the project's environment"):
        sbom.needed(["absent>=2"], sbom.installed_in(site))


def test_version_other_than_the_pin_is_refused_and_the_name_of_a_build_is_no_other_version(sbom: ModuleType) -> None:
    sbom.check_pins({"torch": [], "unpinned": []}, {"torch": "2.13.0+cpu", "unpinned": "1"}, "Torch==2.13.0  # why\n")
    with pytest.raises(Exception, match=r"torch 2\.12\.0 is installed, but constraints\.txt pins 2\.13\.0"):
        sbom.check_pins({"torch": []}, {"torch": "2.12.0"}, "torch==2.13.0\n")


def test_bill_is_cut_down_to_the_graph_and_every_edge_ends_at_a_component(sbom: ModuleType) -> None:
    bom: dict[str, Any] = {
        "metadata": {"component": {"bom-ref": "root-component"}},
        "components": [
            {"name": name, "version": version, "bom-ref": f"{name}=={version}", "licenses": [name]}
            for name, version in (("Top", "1.0+cpu"), ("left_side", "2.0"), ("pytest", "9"))
        ],
        "dependencies": [{"ref": "Top==1.0+cpu", "dependsOn": ["pytest==9"]}],
    }
    cut = sbom.narrowed(bom, {"left-side": [], "top": ["left-side"]}, ["top>=1"])
    assert [(part["name"], part["version"], part["licenses"]) for part in cut["components"]] == [
        ("left_side", "2.0", ["left_side"]), ("Top", "1.0", ["Top"]),
    ]  # fmt: skip
    assert cut["dependencies"] == [
        {"ref": "root-component", "dependsOn": ["pkg:pypi/top@1.0"]},
        {"ref": "pkg:pypi/left-side@2.0"},
        {"ref": "pkg:pypi/top@1.0", "dependsOn": ["pkg:pypi/left-side@2.0"]},
    ]
    with pytest.raises(Exception, match="found no right"):
        sbom.narrowed(bom, {"right": []}, ["right"])


def test_tools_for_tests_and_packages_of_extras_are_in_no_bill_of_this_project(sbom: ModuleType) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    graph = sbom.needed(project["dependencies"], sbom.installed_in(Path(sysconfig.get_path("purelib"))))
    assert {"torch", "transformers", "safetensors", "jinja2"} <= set(graph)
    assert not {"pytest", "mypy", "hypothesis", "torchjd", "quadprog", "build"} & set(graph)
