"""Linking: candidates, vectors, loss, ranking and metrics, each against an independent computation."""

from __future__ import annotations

import random
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manyheads.evaluate import answers_for, with_stores
from manyheads.model import MultiTaskModel
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks.entity_linking import EntityLinking
from manyheads.tasks.entity_linking.dictionary import Dictionary
from manyheads.tasks.entity_linking.ranking import Ranked, fit_threshold, fit_weights
from manyheads.tasks.entity_linking.spelling import Spelling
from manyheads.tasks.entity_linking.strings import Strings
from manyheads.tasks.entity_linking.terms import Concept, normalised, read_terms
from manyheads.tasks.entity_linking.training import SCALE, names_to_read
from manyheads.tasks.entity_linking.vectors import WHOLE, Vectors, unit
from manyheads.tasks.store import OwnFile
from manyheads.text.pack import Pack
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import encode_examples
from toys import SENTENCES, TERMS, linked_rows


def made_names(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    parts = ["".join(draw.choices(string.ascii_lowercase[:12], k=draw.randint(2, 5))) for _ in range(60)]
    return ["-".join(draw.choices(parts, k=draw.randint(1, 4))).title() for _ in range(count)]


def task_with(lines: list[str] = TERMS, **settings: Any) -> EntityLinking:
    task = EntityLinking(name="links", of="entities", terms="terms.tsv", types=("Chemical", "Disease"), **settings)
    return task.store.read(lambda path: OwnFile(path, lines, tabs=True))


@pytest.fixture
def untrained(toy_encoder: Path) -> Predictor:
    task = task_with()
    model = MultiTaskModel(load_encoder(str(toy_encoder)), {"links": task})
    backend = TorchBackend(model, torch.device("cpu"))
    return with_stores(Predictor(backend, {"links": task}, Tokenizer.load(toy_encoder), max_length=64))


# -- the dictionary's file ---------------------------------------------------------------------------------------------


def test_rows_and_synonyms_give_the_names_of_a_concept() -> None:
    concepts = {one.id: one for one in read_terms("terms.tsv", TERMS, tabs=True)}
    assert concepts["C1"].names == ["Aspirin", "acetylsalicylic acid", "ASA"]
    assert concepts["D4"].names == ["nausea", "feeling sick"]
    assert concepts["D4"].type == "Disease"


@pytest.mark.parametrize(
    ("name", "key"),
    [("Type-2  diabetes", "type 2 diabetes"), ("TYPE 2 DIABETES.", "type 2 diabetes"), ("ﬁbrosis", "fibrosis"), ("α-Tocopherol", "α tocopherol"),
     ("don't", "don t"), ("++", "")],
)  # fmt: skip
def test_case_punctuation_and_spaces_do_not_matter(name: str, key: str) -> None:
    assert normalised(name) == key


@given(st.lists(st.text(max_size=8), max_size=6))
def test_strings_come_back(texts: list[str]) -> None:
    found = Strings.of(texts)
    assert found.all() == texts
    assert [found[k] for k in range(len(found))] == texts


# -- candidates --------------------------------------------------------------------------------------------------------


def test_similar_names_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = made_names(400)
    spelling = Spelling.of(names)
    peer = TfidfVectorizer(analyzer="char", ngram_range=(3, 3), binary=True, lowercase=False)
    matrix = peer.fit_transform([f" {normalised(name)} " for name in names])
    for mention in [*made_names(20, seed=1), "a", "zzz", ""]:
        wanted = (matrix @ peer.transform([f" {normalised(mention)} "]).T).toarray()[:, 0]
        query = spelling.query(normalised(mention))
        np.testing.assert_allclose(spelling.cosines([query], np.zeros(len(names), np.int64), np.arange(len(names))), wanted, atol=1e-9)
        found, cosine = spelling.similar(query, 5)
        np.testing.assert_allclose(cosine, np.sort(wanted)[::-1][: len(found)], atol=1e-9)


def test_rare_trigrams_suffice_to_find_the_most_similar_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(dict.fromkeys(made_names(3000)))
    spelling = Spelling.of(names)
    mentions = [name[:4] + name[5:] for name in names[::60] if len(name) > 8]
    best = [spelling.similar(spelling.query(normalised(one)), 1)[0][0] for one in mentions]
    monkeypatch.setattr("manyheads.tasks.entity_linking.spelling.POSTINGS", 1500)
    few = [spelling.similar(spelling.query(normalised(one)), 1)[0][0] for one in mentions]
    assert np.mean(np.array(best) == np.array(few)) >= 0.95


def test_names_that_are_equal_but_for_punctuation_are_found() -> None:
    spelling = Spelling.of(["Type 2 diabetes", "fever", "type-2 Diabetes", "++", "--"])
    assert spelling.equal("type 2 diabetes").tolist() == [0, 2]
    assert spelling.equal("++").tolist() == [3]
    assert spelling.equal("typ 2 diabetes").tolist() == []


def test_few_vectors_are_searched_whole_and_many_nearly_so() -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(80, 24))
    vector_MD = centres[draw.integers(0, 80, 4 * WHOLE)] + 0.4 * draw.normal(size=(4 * WHOLE, 24))
    query_QD = unit(vector_MD[::97] + 0.1 * draw.normal(size=vector_MD[::97].shape))
    for size, least in ((WHOLE, 1.0), (len(vector_MD), 0.95)):
        vectors = Vectors.of(vector_MD[:size], np.arange(size), np.arange(size))
        wanted = np.argsort(-(unit(vector_MD[:size]) @ query_QD.T), axis=0)[:5].T
        found = vectors.nearest(query_QD, 5)
        assert np.mean([np.isin(one, other).mean() for one, other in zip(wanted, found, strict=True)]) >= least - 0.02
        cosines = vectors.cosines(query_QD, np.zeros(size, np.int64), np.arange(size))
        np.testing.assert_allclose(cosines, unit(vector_MD[:size]) @ query_QD[0], atol=2e-3)


def test_candidates_have_the_best_features_of_their_names() -> None:
    concepts = [Concept("A", ["heart attack", "myocardial infarction"], ""), Concept("B", ["attack"], ""), Concept("C", ["fever"], "")]
    dictionary = Dictionary.of(concepts)
    axes = np.eye(4)
    dictionary = dictionary.with_vectors(dictionary.names.all(), axes)
    [found] = dictionary.candidates(["Heart-attack"], axes[[1]].astype(np.float32), ["Disease"])
    assert found.concept_C.tolist() == [0, 1, 2]
    assert found.feature_CF[0].tolist() == pytest.approx([1.0, 1.0, 1.0])  # equal by one name, near by the other
    assert found.feature_CF[1, 0] == 0.0
    assert 0.3 < found.feature_CF[1, 1] < 0.9


@pytest.mark.parametrize("size", [300, 2 * WHOLE])
def test_many_mentions_have_the_candidates_of_each(size: int) -> None:
    names, draw = list(dict.fromkeys(made_names(size + 500)))[:size], np.random.default_rng(0)
    concepts = [Concept(f"C{k}", names[k : k + 3], ("Drug", "Gene", "")[k % 9 // 3]) for k in range(0, len(names), 3)]
    dictionary = Dictionary.of(concepts)
    dictionary = dictionary.with_vectors(dictionary.names.all()[:-5], draw.normal(size=(len(names) - 5, 16)))
    mentions = [*names[::31], "", "zzz", *(name[:4] + name[5:] for name in names[::37])]
    labels, vector_ND = [("drug", "Gene", "other")[n % 3] for n in range(len(mentions))], unit(draw.normal(size=(len(mentions), 16)))
    together = dictionary.candidates(mentions, vector_ND, labels)
    for mention, vector_D, label, found in zip(mentions, vector_ND, labels, together, strict=True):
        [alone] = dictionary.candidates([mention], vector_D[None], [label])
        assert found.concept_C.tolist() == alone.concept_C.tolist()
        np.testing.assert_allclose(found.feature_CF, alone.feature_CF, atol=1e-6)
        for concept, feature_F in zip(found.concept_C, found.feature_CF, strict=True):
            assert feature_F[0] == any(normalised(dictionary.names[n]) == normalised(mention) for n in dictionary.names_of(concept))
            assert label == "other" or dictionary.types[concept] in ("", label.capitalize())


def test_concepts_of_another_type_are_left_out_where_the_label_is_a_type() -> None:
    lines = ["id\tname\ttype", "G1\tinsulin\tGene", "C1\tinsulin\tChemical", "X1\tinsulin\t"]
    dictionary = Dictionary.of(read_terms("t", lines, tabs=True))
    chemical, drug = dictionary.candidates(["insulin"] * 2, np.zeros((2, 4), np.float32), ["chemical", "Drug"])
    assert chemical.concept_C.tolist() == [1, 2]
    assert drug.concept_C.tolist() == [0, 1, 2]


def test_a_dictionary_comes_back_from_its_arrays_and_damage_is_noticed() -> None:
    dictionary = Dictionary.of(read_terms("t", TERMS, tabs=True))
    count = len(dictionary.names)
    dictionary = dictionary.with_vectors(dictionary.names.all(), np.random.default_rng(0).normal(size=(count, 8)))
    arrays = dictionary.arrays()
    again = Dictionary.from_arrays(arrays)
    mentions, query_MD = ["aspirin", "fevr", "type II diabetes"], unit(np.ones((3, 8)))
    both = (some.candidates(mentions, query_MD, ["x"] * 3) for some in (dictionary, again))
    for one, other in zip(*both, strict=True):
        np.testing.assert_array_equal(one.concept_C, other.concept_C)
        np.testing.assert_array_equal(one.feature_CF, other.feature_CF)
    for name, array in arrays.items():
        with pytest.raises(ValueError, match="has "):
            Dictionary.from_arrays({key: value for key, value in arrays.items() if key != name} | {name: array.astype(np.float64)})
        if array.dtype == np.int32:
            with pytest.raises(ValueError, match="has "):
                Dictionary.from_arrays({**arrays, name: np.full_like(array, 10**6)})


# -- vectors and loss --------------------------------------------------------------------------------------------------


def test_the_head_begins_as_mean_pooling_of_the_mention_in_its_context(untrained: Predictor) -> None:
    from manyheads.tasks.entity_linking.mentions import mention_vectors, name_vectors

    task = untrained.tasks["links"]
    assert isinstance(task, EntityLinking)
    backend = untrained.backend
    assert isinstance(backend, TorchBackend)
    text = SENTENCES[1]  # "type 2 diabetes" at its end
    [item] = untrained.items("links", [task.scored_inputs(task.read(linked_rows()[1]))[0]])
    spans = [one.span for one in task.read(linked_rows()[1]).spans]
    found_ND = mention_vectors([replace(item, spans=spans)], np.arange(len(spans)))
    [window] = item.encodings
    hidden_TD = backend.hidden_states([window], None)
    for (start, end, _), found_D in zip(spans, found_ND, strict=True):
        inside = (window.part_L == 0) & (window.start_L < end) & (window.end_L > start)
        assert inside.sum() >= len(text[start:end].split())
        np.testing.assert_allclose(found_D, unit(hidden_TD[inside].mean(0)), atol=1e-5)
    [name] = untrained.items("links", task.store.inputs(None)[:1])
    states_TD = backend.hidden_states(list(name.encodings), None)
    np.testing.assert_allclose(name_vectors([name])[0], states_TD.mean(0), atol=1e-5)


def test_a_mention_in_a_long_text_has_the_tokens_of_the_window_that_owns_it(untrained: Predictor) -> None:
    from manyheads.tasks.entity_linking.mentions import mention_vectors

    text = " ".join(SENTENCES * 3)
    places = [k for k in range(len(text)) if text.startswith("type 2 diabetes", k)]
    short = Predictor(untrained.backend, untrained.tasks, untrained.tokenizer, max_length=24)
    entry = untrained.tasks["links"].source_of_row({"text": text})
    assert entry is not None
    [item] = short.items("links", [entry])
    assert len(item.encodings) > 3
    found_ND = mention_vectors([replace(item, spans=[(k, k + 15, "Disease") for k in places])], np.arange(len(places)))
    assert np.isfinite(found_ND).all()
    np.testing.assert_allclose(np.linalg.norm(found_ND, axis=1), 1.0, atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_each_mention_over_its_names(untrained: Predictor, toy_encoder: Path) -> None:
    task = untrained.tasks["links"]
    assert isinstance(task, EntityLinking)
    examples = [task.read(row) for row in linked_rows()]
    backend = untrained.backend
    assert isinstance(backend, TorchBackend)
    encodings = encode_examples(task, examples, untrained.tokenizer, max_length=64, budget=4096)
    flat = [window for asked in encodings for source in asked for window in source]
    output = backend.model(Pack.of(flat), {"links": (0, len(flat))})["links"]
    arrays = task.targets(examples, encodings)
    loss = task.loss(output, {key: torch.from_numpy(value) for key, value in arrays.items()})
    dictionary = task.dictionary
    assert dictionary is not None
    vector_TD, at = output["vector_TX"].detach().numpy(), 0
    mentions, names, concepts, owns = [], [], [], []
    for example, asked in zip(examples, encodings, strict=True):
        wanted, [window] = names_to_read(task, example), asked[0]
        first = len(names)
        row_TD = vector_TD[at : at + len(window)]
        at += len(window)
        for [source] in asked[1:]:
            names.append(unit(vector_TD[at : at + len(source)].mean(0)))
            at += len(source)
        concepts += [int(dictionary.concept_of_name[name]) for name in wanted]
        for one in example.spans:
            mine = dictionary.places(one.links)
            if mine:
                inside = (window.part_L == 0) & (window.start_L < one.end) & (window.end_L > one.start)
                mentions.append(unit(row_TD[inside].mean(0)))
                owns.append((mine[0], {first + k for k, name in enumerate(wanted) if int(dictionary.concept_of_name[name]) == mine[0]}))
    losses = []
    for n, (mention, (concept, own)) in enumerate(zip(mentions, owns, strict=True)):
        logits = SCALE * np.array(names) @ mention
        positive = int(arrays["name_N"][n])
        assert positive in own
        kept = [m for m in range(len(names)) if m == positive or concepts[m] != concept]
        losses.append(np.log(np.exp(logits[kept]).sum()) - logits[positive])
    assert loss.chance_loss == SCALE
    assert float(loss.mean.detach()) == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_mention_learns_from_a_synonym_and_against_names_that_resemble_it() -> None:
    task = task_with([*TERMS, "D9\tmigraines of childhood\tDisease\t"])
    example = task.read(linked_rows()[5])
    dictionary = task.dictionary
    assert dictionary is not None
    names = [dictionary.names[name] for name in names_to_read(task, example)]
    assert [name for name in names if name.startswith("headache") or name == "migraine headache"]
    assert "migraine" not in names, "the mention itself"
    assert "migraines of childhood" in names, "a hard negative"


# -- ranking -----------------------------------------------------------------------------------------------------------


def random_mentions(count: int) -> list[Ranked]:
    draw = np.random.default_rng(3)
    found = []
    for n in range(count):
        feature_CF = draw.random((int(draw.integers(1, 7)), 3))
        outside = n % 4 == 0
        right_C = np.zeros(len(feature_CF), bool)
        right_C[int((feature_CF @ [1.0, 2.0, 6.0] + 0.3 * draw.normal(size=len(feature_CF))).argmax())] = not outside
        found.append(Ranked(feature_CF, right_C, outside))
    return found


def test_weights_have_the_highest_penalised_likelihood() -> None:
    mentions = random_mentions(60)

    def loss(value: np.ndarray) -> float:
        total = 0.5 * (((value - [4.0, 8.0, 12.0, 5.0]) / 5.0) ** 2).sum()
        for one in mentions:
            part = np.exp(np.append(one.feature_CF @ value[:3], value[3]))
            total -= np.log(part[np.append(one.right_C, one.outside)].sum() / part.sum())
        return float(total)

    weights, none = fit_weights(mentions)
    best = np.array([*weights, none])
    for step in np.eye(4) * 1e-2:
        assert loss(best) <= min(loss(best + step), loss(np.maximum(best - step, [0, 0, 0, -60]))) + 1e-9


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7]), st.booleans(), st.booleans()), max_size=12))
def test_no_threshold_answers_more_mentions_rightly(rows: list[tuple[float, bool, bool]]) -> None:
    score, right, outside = (np.array([row[k] for row in rows], kind) for k, kind in enumerate((float, bool, bool)))

    def correct(limit: float) -> int:
        return int(np.where(score >= limit, right, outside).sum())

    found = fit_threshold(score, right, outside)
    assert correct(found) == max(correct(limit) for limit in (0.0, 0.2, 0.4, 0.6, 0.8))


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_are_those_counted_by_hand(untrained: Predictor) -> None:
    rows = linked_rows()
    rows[0] = {**rows[0], "entities": [{**e, "links": ["D1", "D2"]} if "D1" in e.get("links", []) else e for e in rows[0]["entities"]]}
    task = untrained.tasks["links"]
    assert isinstance(task, EntityLinking)
    examples = [task.read(row) for row in rows]
    inputs = [task.scored_inputs(example)[0] for example in examples]
    gold = [one.answers["links"] for one in untrained.answer([{"links": entry} for entry in inputs])]
    moved = [replace(entry, spans=tuple((s, e - (n == 0), label) for n, (s, e, label) in enumerate(entry.spans or ()))) for entry in inputs]
    found = [one.answers["links"] for one in untrained.answer([{"links": entry} for entry in moved])]
    tuned = task.calibrate([[one, None] for one in gold], examples)
    answers = tuned.recalibrate([list(pair) for pair in zip(gold, found, strict=True)], task)
    metrics = tuned.score(answers, examples)
    dictionary = task.dictionary
    assert dictionary is not None
    at_1, at_5, held, nil, linked, right = [], [], [], [], 0, 0
    for (mine, ends), example in zip(answers, examples, strict=True):
        by_place = {one["entity"]: one for one in mine or []}
        for place, one in enumerate(example.spans):
            answer, known = by_place[place], [link for link in one.links if link in dictionary.place_of_id]
            at_1.append(answer["id"] in known if known else answer["id"] is None)
            at_5.append(any(other["id"] in known for other in answer["candidates"]) if known else answer["id"] is None)
            if known:
                held.append(any(dictionary.ids[int(c)] in known for c in answer["concepts"]))
            nil.append((not known, answer["id"] is None))
        golds = {one.span: one.links for one in example.spans if one.links}
        given = [one for one in ends or [] if one["id"] is not None]
        linked += len(given)
        right += sum(one["id"] in golds.get(one["span"], ()) for one in given)
    total = sum(bool(one.links) for example in examples for one in example.spans)
    both = sum(one and other for one, other in nil)
    assert metrics["accuracy_at_1"] == pytest.approx(np.mean(at_1))
    assert metrics["accuracy_at_5"] == pytest.approx(np.mean(at_5))
    assert metrics["candidate_recall"] == pytest.approx(np.mean(held))
    assert metrics["nil_f1"] == pytest.approx(2 * both / max(1, sum(map(sum, nil))))
    assert metrics["strict_f1"] == pytest.approx(2 * right / (linked + total))
    assert linked > 0


def test_a_fixed_threshold_is_kept(untrained: Predictor) -> None:
    task = replace(untrained.tasks["links"], threshold=0.999, none_logit=-60.0)
    assert isinstance(task, EntityLinking)
    examples = [task.read(row) for row in linked_rows()]
    answers, _ = answers_for(untrained.with_tasks({"links": task}), task, examples)
    given = [one for answer in answers for one in answer[0] or ()]
    assert all((one["id"] is None) == (one["candidates"][0]["score"] < 0.999) for one in given)
    assert task.threshold_notes() == ["entities whose best concept has a score below 0.999 get none"]


def test_of_a_large_dictionary_training_evaluates_with_the_names_that_mentions_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyheads.tasks.entity_linking.store.FEW", 5)
    task = task_with([*TERMS, *(f"X{k}\t{name}\t\t" for k, name in enumerate(dict.fromkeys(made_names(300))))])
    example = task.read(linked_rows()[0])
    every, some = (task.store.inputs(part) for part in (None, [example]))
    texts = {entry.source.first for entry in some}
    assert len(some) < len(every) / 2
    assert {"Aspirin", "ASA", "fever", "pyrexia", "influenza", "flu"} <= texts
    small = task.store.with_rows(some, np.ones((len(some), 4)))
    assert small.dictionary is not None
    assert small.dictionary.vectors is not None
    assert int((small.dictionary.vectors.row_N >= 0).sum()) >= len(some)
