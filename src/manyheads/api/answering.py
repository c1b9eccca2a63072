"""The methods of `Model` that answer texts: rows, spans, labels, vectors and probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from manyheads.api.predictions import Predictions
from manyheads.data.python_inputs import Inputs, broadcast_rows, rows_of_inputs, task_names
from manyheads.errors import UsageError
from manyheads.inference import LoadedModel
from manyheads.inference import questions as ask
from manyheads.outputs.min_score import check_min_score, filter_by_score

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from manyheads.api.results import Answer, Classification, RankedText, Row, Span
    from manyheads.inference.hard_negatives import Mining
    from manyheads.inference.hidden_states import HiddenStates
    from manyheads.inference.questions import WordProbabilities
    from manyheads.predict import Predictor
    from manyheads.tasks.base import AnswerForm, Task


class Answering:
    """What answers texts with a loaded model. Abstract: `Model` is the class to use.

    Texts are given in any form: a text, a row such as `{"text": ..., "id": ...}`, or any iterable of them; a column (Series,
    array); a table with a `text` column (DataFrame, Dataset, Arrow table). Wherever `task` may be left out, the model must
    have just one that fits.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    @property
    def tasks(self) -> Mapping[str, Task[Any]]:
        """The model's tasks by name.

        >>> import manyheads as mh
        >>> list(mh.load("runs/demo").tasks)
        ['entities', 'section', 'answers', 'similarity']
        """
        return self._loaded.tasks

    @property
    def predictor(self) -> Predictor:
        """What answers rows, for code that needs more than the methods below.

        >>> import manyheads as mh
        >>> mh.load("runs/demo").predictor.max_length
        48
        """
        return self._loaded.predictor

    def labels(self, task: str | None = None) -> list[str]:
        """Labels of a task, in the order of `predict_proba`. By default of the only task that has labels.

        >>> import manyheads as mh
        >>> mh.load("runs/demo").labels("entities")
        ['Chemical', 'Disease']
        """
        found = {name: list(one.label_names) for name, one in self.tasks.items() if one.label_names}
        if task is None and len(found) == 1:
            return next(iter(found.values()))
        if task not in found:
            given = "choose one with task=" if task is None else f"'{task}' is none of them"
            raise UsageError(f"the tasks with labels are {', '.join(found) or 'none'}; {given}")
        return found[task]

    @overload
    def predict(
        self, inputs: Inputs, tasks: str | Iterable[str] | None = None, *, min_score: float | None = None,
        stream: Literal[False] = False,
    ) -> Predictions: ...
    @overload
    def predict(
        self, inputs: Inputs, tasks: str | Iterable[str] | None = None, *, min_score: float | None = None,
        stream: Literal[True],
    ) -> Iterator[Row]: ...

    def predict(
        self, inputs: Inputs, tasks: str | Iterable[str] | None = None, *, min_score: float | None = None,
        stream: bool = False,
    ) -> Predictions | Iterator[Row]:
        """Output rows for texts or input rows (`{"text", "question", "id"}`), in order.

        `tasks`: one name or several; by default all. `min_score`: leave out spans, answers and multi-label labels with a
        lower score. `stream`: return an iterator, which reads the inputs as it goes, up to 2,048 rows ahead, for inputs
        that are too many for memory or never end.

        A row that cannot be read has an `error` instead of answers. Raises UsageError for an unknown task, and for inputs
        that contain neither texts nor rows.

        >>> import manyheads as mh
        >>> model = mh.load("runs/demo")
        >>> rows = model.predict([{"id": 7, "text": "Aspirin lowered fever."}], tasks=["section", "similarity"])
        >>> rows[0]["id"], rows[0]["windows"], list(rows[0]["tasks"])
        (7, 1, ['section', 'similarity'])
        """
        least, rows = check_min_score(min_score), rows_of_inputs(inputs)
        names = self.predictor.check_tasks(task_names(tasks))
        if stream:
            return self._answered(rows, names, least)
        given = list(rows)
        return Predictions(self._answered(given, names, least), given, self.tasks)

    def _answered(self, rows: Iterable[Any], names: list[str], least: float) -> Iterator[Row]:
        return (cast("Row", filter_by_score(row, least)) for row in self.predictor.predict(rows, names))

    def entities(
        self, texts: Inputs, task: str | None = None, *, labels: Mapping[str, str | None] | Iterable[str] | None = None
    ) -> list[list[Span]]:
        """Spans of each text: `start`, `end`, `label`, `text`, `score`.

        `labels`: for a task with `by_name`, the labels to look for in place of its own, as names or as `{name: description}`;
        labels of the training data may be among them. Raises UsageError for other tasks.

        Raises RowError for a text that cannot be read, as do the methods below.

        >>> import manyheads as mh
        >>> text = "Aspirin lowered fever."
        >>> spans = mh.load("runs/demo").entities([text])[0]
        >>> all(text[span["start"] : span["end"]] == span["text"] for span in spans)
        True
        """
        return self._answers("spans", texts, task, labels)

    def classify(
        self, texts: Inputs, task: str | None = None, *, labels: Mapping[str, str | None] | Iterable[str] | None = None
    ) -> list[Classification]:
        """Label and scores of each text; rows may have a `text_pair`.

        `labels`: for a task with `by_name`, the labels to choose among in place of its own, as names or as
        `{name: description}`; labels of the training data may be among them. Raises UsageError for other tasks.

        >>> import manyheads as mh
        >>> answer = mh.load("runs/demo").classify("No patient died.")[0]
        >>> answer["label"] == max(answer["scores"], key=answer["scores"].get)
        True
        """
        return self._answers("classes", texts, task, labels)

    @overload
    def answer(self, *, question: str, context: str, task: str | None = None) -> list[Answer]: ...
    @overload
    def answer(self, rows: Inputs, *, task: str | None = None) -> list[list[Answer]]: ...
    @overload
    def answer(self, *, question: Inputs, context: Inputs, task: str | None = None) -> list[list[Answer]]: ...

    def answer(
        self, rows: Inputs = None, *, question: Inputs = None, context: Inputs = None, task: str | None = None
    ) -> list[Any]:
        """Answer spans in the context, best first; empty if the context does not answer the question.

        One question with one context returns its spans. Columns of questions or contexts (a single text is used for every
        row), or `rows` with `question` and `context` (or `text`), return a list of spans for each row.

        >>> import manyheads as mh
        >>> model = mh.load("runs/demo")
        >>> spans = model.answer(question="What lowered fever?", context="Aspirin lowered fever.")
        >>> all(span["text"] in "Aspirin lowered fever." for span in spans)
        True
        >>> len(model.answer(question=["What lowered fever?", "Who?"], context="Aspirin lowered fever."))
        2
        """
        name = ask.only_task(self.tasks, "passages", task)
        if (rows is None) == (question is None and context is None) or (question is None) != (context is None):
            raise UsageError("answer takes either rows with a question and a context, or both question= and context=")
        single = isinstance(question, str) and isinstance(context, str)
        asked = rows_of_inputs(rows) if rows is not None else broadcast_rows(question=question, context=context)
        answers = ask.answers_of(self.predictor, name, asked)
        found = [self.tasks[name].answer_keys(answer)[name] for answer in answers]
        return found[0] if single else found

    def _answers(
        self, form: AnswerForm, texts: Inputs, task: str | None, labels: Mapping[str, str | None] | Iterable[str] | None
    ) -> list[Any]:
        """Answers of this form, of the only task or of `task`, with its own labels or with these."""
        name, predictor = task, self.predictor
        if labels is None:
            name = ask.only_task(self.tasks, form, task)
        else:
            name, predictor = ask.choosing_among(predictor, task, labels, form)
        return ask.answers_of(predictor, name, rows_of_inputs(texts))

    def embed(self, texts: Inputs, task: str | None = None, *, prompt: str | None = None) -> npt.NDArray[np.float32]:
        """Embeddings `(n, d)`, float32, in the order of the texts.

        `prompt`: the name of the prompt that is put before each text, such as `query`; by default the task's
        `default_prompt_name`. Raises RowError for a name that the task does not have.

        >>> import manyheads as mh
        >>> vectors = mh.load("runs/demo").embed(["A text.", "Another one."])
        >>> len(vectors), vectors.dtype
        (2, dtype('float32'))
        """
        import numpy as np

        name, rows = ask.only_task(self.tasks, "vector", task), list(rows_of_inputs(texts))
        if prompt is not None:
            rows = [{**row, "prompt_name": prompt} if isinstance(row, Mapping) else row for row in rows]
        answers = ask.answers_of(self.predictor, name, rows or [{"text": ""}])  # without texts, "" determines d
        return np.stack(answers)[: len(rows)]

    def encode(
        self, texts: Inputs, task: str | None = None, *, normalize_embeddings: bool = False, prompt_name: str | None = None
    ) -> npt.NDArray[np.float32]:
        """`embed` as sentence-transformers has it: `(n, d)` for several texts, `(d,)` for a single string.

        `normalize_embeddings`: scale the vectors to length 1. `prompt_name`: as `prompt` of `embed`.

        >>> import manyheads as mh
        >>> model = mh.load("runs/demo")
        >>> model.encode("A text.").shape, model.encode(["A text."]).shape
        ((16,), (1, 16))
        """
        from manyheads.metrics.vectors import unit_rows

        vectors = self.embed(texts, task, prompt=prompt_name)
        if normalize_embeddings:
            vectors = unit_rows(vectors)
        return vectors[0] if isinstance(texts, str) else vectors

    def rank(
        self, query: str, texts: Inputs, task: str | None = None, *, top_n: int | None = None
    ) -> list[RankedText]:
        """Texts by their relevance to a query, best first: `index` in the texts, `score`, and `text`.

        `top_n`: return only as many. Of rows, `text` is read.

        >>> import manyheads as mh
        >>> found = mh.load("runs/demo").rank("What lowered fever?", ["Aspirin lowered fever."])  # doctest: +SKIP
        >>> found[0]  # doctest: +SKIP
        {'index': 0, 'score': 0.93, 'text': 'Aspirin lowered fever.'}
        """
        name, rows = ask.only_task(self.tasks, "relevance", task), list(rows_of_inputs(texts))
        asked = [{**row, "query": query} if isinstance(row, Mapping) else row for row in rows]
        answers = ask.answers_of(self.predictor, name, asked)
        found: list[RankedText] = [
            {"index": i, "score": answer["score"], "text": row["text"]}
            for i, (row, answer) in enumerate(zip(rows, answers, strict=True))
        ]
        return sorted(found, key=lambda one: -one["score"])[:top_n]

    def mine_hard_negatives(
        self, pairs: Iterable[Mapping[str, Any]], corpus: Iterable[str] | None = None, *, task: str | None = None,
        mining: Mining | None = None,
    ) -> list[dict[str, Any]]:
        """Passages near each query that are not its positives, as rows `{"query", "positive", "negatives"}`.

        `pairs`: rows with `text_a` and `text_b`, or `query` and `positive`. `corpus`: passages, by default the positives of
        all pairs. The rows train a ranking task as they are.

        >>> import manyheads as mh
        >>> pairs = [{"text_a": "fever?", "text_b": "Aspirin lowered fever."}]
        >>> mining = mh.Mining(num_negatives=1, relative_margin=-9)  # however near
        >>> mh.load("runs/demo").mine_hard_negatives(pairs, ["No patient died."], mining=mining)[0]["negatives"]
        ['No patient died.']
        """
        from manyheads.inference.hard_negatives import Mining, hard_negatives

        name = ask.only_task(self.tasks, "vector", task)
        return hard_negatives(self.predictor, name, pairs, corpus, mining or Mining())

    def predict_proba(self, texts: Inputs, task: str | None = None) -> npt.NDArray[np.float32]:
        """Calibrated scores of all labels of a text classification, `(n, K)` float32, in the order of `labels(task)`.

        Rows add up to 1, except for multi-label tasks.

        >>> import manyheads as mh
        >>> model = mh.load("runs/demo")
        >>> model.predict_proba(["No patient died."]).shape, model.labels("section")
        ((1, 3), ['CONCLUSIONS', 'METHODS', 'RESULTS'])
        """
        name = ask.only_task(self.tasks, "classes", task)
        return ask.class_probabilities(self.predictor, name, rows_of_inputs(texts))

    def word_probabilities(self, texts: Inputs, task: str | None = None) -> list[WordProbabilities]:
        """For tasks that tag words: words, their offsets `(n, 2)`, and probabilities of the tags `(n, K)` of each text.

        With a CRF these are its marginals. Unlike the scores of spans they are not calibrated.

        >>> import manyheads as mh
        >>> found = mh.load("runs/demo").word_probabilities(["Aspirin lowered fever."])[0]
        >>> found.words, found.probabilities.shape, found.tags[:3]
        (['Aspirin', 'lowered', 'fever', '.'], (4, 5), ('O', 'B-Chemical', 'I-Chemical'))
        """
        name = ask.only_tagger(self.tasks, task)
        return ask.word_probabilities(self.predictor, name, rows_of_inputs(texts))

    def hidden_states(self, texts: Inputs, task: str | None = None) -> list[HiddenStates]:
        """Tokens of each text, their offsets `(n, 2)`, and vectors `(n, d)` from the encoder's last shared layer.

        With `task`, the vectors are what the head of that task reads: the last of its own layers, or its mix of layers.
        Special tokens are left out. Of a text in several windows, each token comes once, from the window with most context
        around it. Raises UsageError for exports.

        >>> import manyheads as mh
        >>> states = mh.load("runs/demo").hidden_states(["Aspirin lowered fever."])[0]
        >>> states.tokens, states.offsets[0].tolist(), states.vectors.shape
        (['aspirin', 'lowered', 'fever', '.'], [0, 7], (4, 32))
        """
        from manyheads.inference.hidden_states import hidden_states

        return hidden_states(self._loaded, rows_of_inputs(texts), task)
