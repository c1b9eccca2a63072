"""What a data source of a run file names: files with a format, or a data set of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.config.dataset import source_of
from manyheads.config.files import RunFile, parse_run
from manyheads.data.hub import Hub
from manyheads.data.readers import Files
from manyheads.errors import DataError


def source(text: str) -> object:
    run = parse_run(f"tasks: {{t: {{type: token-classification, data: {{train: {text}}}}}}}", "run.yaml")
    return source_of(RunFile(run, Path("/data/run.yaml")), run.tasks["t"].data.train)


def test_files_take_a_format_and_names_and_the_hub_its_own_keys():
    assert source("a.json") == Files((Path("/data/a.json"),))
    assert source("[a.json, b.json]") == Files((Path("/data/a.json"), Path("/data/b.json")))
    assert source("{path: a.json, format: doccano}") == Files((Path("/data/a.json"),), "doccano")
    assert source("{path: [a, b], names: [O, B-X]}") == Files((Path("/data/a"), Path("/data/b")), None, ("O", "B-X"))
    assert source("'hf:glue'") == Hub("glue")
    assert source("{path: 'hf:glue', config: sst2, split: test, columns: {text: sentence}}") == Hub(
        "glue", "sst2", "test", {"text": "sentence"}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{path: glue, config: sst2}", "glue: 'config' is for Hub data sets; write hf:glue, or remove 'config'"),
        ("{path: 'hf:glue', format: csv}", "hf:glue: a Hub data set cannot be combined with other paths, 'format' or 'names'"),
        ("[a.json, 'hf:glue']", "hf:glue: a Hub data set cannot be combined with other paths, 'format' or 'names'"),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_together_are_refused(text, message):
    with pytest.raises(DataError) as caught:
        source(text)
    assert str(caught.value) == message


def test_columns_of_files_are_renamed_by_name_or_number():
    assert source("{path: a.csv, columns: {text: sentence}}") == Files(
        (Path("/data/a.csv"),), columns={"text": "sentence"}
    )
    assert source("{path: a.conll, columns: {tags: 4}}") == Files((Path("/data/a.conll"),), columns={"tags": "4"})
