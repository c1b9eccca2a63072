"""Pipelines that are saved and loaded again."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from spacy.language import Language

import manyheads as mh
from manyheads.errors import BundleError, UsageError
from spacy_component.conftest import Pipeline
from toys import SENTENCES


@pytest.fixture
def model(young_model: Path, tmp_path: Path) -> Path:
    """A copy that tests may move."""
    return Path(shutil.copytree(young_model, tmp_path / "model"))


def answers(nlp: Language) -> Any:
    return [doc._.manyheads for doc in nlp.pipe(SENTENCES)]


def test_a_saved_pipeline_has_its_model_and_can_be_moved(model: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    nlp = pipeline(model, "sentencizer", tasks=["section", "entities"])
    before = answers(nlp)
    nlp.to_disk(tmp_path / "saved")
    (tmp_path / "saved").rename(tmp_path / "moved")
    shutil.rmtree(model)
    again = spacy.load(tmp_path / "moved")
    assert answers(again) == before
    assert again.get_pipe("manyheads").model.folder == tmp_path / "moved/manyheads/model"
    assert again.pipe_labels["manyheads"] == nlp.pipe_labels["manyheads"]
    again.to_disk(tmp_path / "moved")  # over itself
    again.to_disk(tmp_path / "third")
    assert answers(spacy.load(tmp_path / "moved")) == answers(spacy.load(tmp_path / "third")) == before


def test_saving_over_another_pipeline_replaces_its_model(
    young_model: Path, every_head: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline(young_model).to_disk(tmp_path / "saved")
    nlp = pipeline(every_head, tasks=["section"])
    nlp.to_disk(tmp_path / "saved")
    assert answers(spacy.load(tmp_path / "saved")) == answers(nlp)
    assert sorted(path.name for path in (tmp_path / "saved/manyheads").iterdir()) == ["model"]


def test_a_folder_that_is_no_model_is_not_replaced(young_model: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "saved/manyheads/model").mkdir(parents=True)
    (tmp_path / "saved/manyheads/model/thesis.tex").write_text("years")
    with pytest.raises(UsageError, match="is not a model folder, so it is not replaced"):
        pipeline(young_model).to_disk(tmp_path / "saved")
    assert (tmp_path / "saved/manyheads/model/thesis.tex").is_file()


def test_with_store_path_the_pipeline_names_its_model(
    model: Path, every_head: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    nlp = pipeline(model, store="path", tasks=["section"])
    nlp.to_disk(tmp_path / "saved")
    assert [path.name for path in (tmp_path / "saved/manyheads").iterdir()] == ["model.json"]
    assert answers(spacy.load(tmp_path / "saved")) == answers(nlp)
    moved = model.rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="model is not a folder"):
        spacy.load(tmp_path / "saved")
    config = {"components.manyheads.model": str(moved)}
    assert answers(spacy.load(tmp_path / "saved", config=config)) == answers(nlp)
    with pytest.raises(BundleError, match=r"is not the model that the pipeline was saved with .* give that one's path as `model`"):
        spacy.load(tmp_path / "saved", config={"components.manyheads.model": str(every_head)})


@pytest.mark.parametrize("store", ["copy", "path"])
def test_a_pipeline_comes_back_from_bytes(model: Path, pipeline: Pipeline, store: str) -> None:
    nlp = pipeline(model, store=store)
    before, data = answers(nlp), nlp.to_bytes()
    again = type(nlp).from_config(nlp.config)
    assert answers(again.from_bytes(data)) == before
    if store == "copy":
        shutil.rmtree(model)
        assert answers(again) == before
        assert again.to_bytes() is not None


def test_bytes_with_a_file_outside_the_model_are_refused(young_model: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    component = pipeline(young_model).get_pipe("manyheads")
    for name in ("../evil", "/evil", "a/../../evil", "..\\evil"):
        with pytest.raises(BundleError, match="lies outside its model"):
            component.from_bytes(srsly.msgpack_dumps({"files": {name: b"x"}}))


def test_a_damaged_copy_is_refused(young_model: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(young_model).to_disk(tmp_path / "saved")
    heads = tmp_path / "saved/manyheads/model/heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"heads\.safetensors"):
        spacy.load(tmp_path / "saved")
    shutil.rmtree(tmp_path / "saved/manyheads/model")
    with pytest.raises(BundleError, match=r"has neither model/ nor model\.json"):
        spacy.load(tmp_path / "saved")


def test_a_component_can_be_pickled(young_model: Path, pipeline: Pipeline) -> None:
    nlp = pipeline(young_model, tasks=["section"])
    again = pickle.loads(pickle.dumps(nlp.get_pipe("manyheads")))
    assert again(nlp.make_doc(SENTENCES[0]))._.manyheads == nlp(SENTENCES[0])._.manyheads


def test_a_component_of_another_pipeline_can_be_used(young_model: Path, pipeline: Pipeline) -> None:
    source, nlp = pipeline(young_model), spacy.blank("en")
    nlp.add_pipe("manyheads", source=source)
    assert answers(nlp) == answers(source)


def test_an_onnx_export_works_in_a_pipeline(exports: Any, pipeline: Pipeline, tmp_path: Path) -> None:
    model, graph, _ = exports("hard")
    nlp = pipeline(graph)
    nlp.to_disk(tmp_path / "saved")
    again = spacy.load(tmp_path / "saved")
    expected = [[(one["text"], one["label"]) for one in spans] for spans in mh.load(model).entities(SENTENCES)]
    for found in (nlp.pipe(SENTENCES), again.pipe(SENTENCES), nlp.pipe(SENTENCES, n_process=2, batch_size=3)):
        assert [[(one.text, one.label_) for one in doc.spans["entities"]] for doc in found] == expected


def test_a_reloaded_pipeline_does_not_look_for_its_old_model_when_spacy_asks_for_the_attribute(
    model: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    """spaCy checks components against protocols, attribute by attribute in the order of a set, so that it may come to `model`."""
    nlp = pipeline(model, tasks=["section"])
    nlp.to_disk(tmp_path / "saved")
    shutil.rmtree(model)
    meta = {"components": ["manyheads"]}
    again = type(nlp).from_config(nlp.config, meta=meta)
    component = again.get_pipe("manyheads")
    assert not hasattr(component, "model")
    component.from_disk(tmp_path / "saved/manyheads")
    assert answers(again) == answers(nlp)
