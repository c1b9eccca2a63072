"""Extractive answers. `task.py` is the task; the other files are what it is to reports, files and tools."""

from manyheads.tasks.question_answering.task import Found, Question, QuestionAnswering

__all__ = ["Found", "Question", "QuestionAnswering"]
