"""Expressions of tokenizers: those in use pass, those that never end do not."""

from __future__ import annotations

import pytest

from manyheads.text.patterns import LONGEST, refusal

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
IN_USE = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "GPT-4": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}]*[\p{Ll}\p{Lm}\p{M}]+"
    + CONTRACTIONS
    + r"?|\s*[\r\n]+|\s+(?!\S)|\s+",
    "CLIP": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "OLMo": r"\d{1,3}(?=(?:\d{3})*\b)",
    "DeepSeek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    "BLOOM": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "XLM-R": r" {2,}",
    "thousands": r"(\d{3})+(?!\d)",
}


@pytest.mark.parametrize("name", IN_USE)
def test_expressions_in_use_pass(name: str) -> None:
    assert refusal(IN_USE[name]) is None


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a+)+$", "repeats"),
        (r"(?:(?:a+))+", "repeats"),
        (r"(a|ab)*c", "repeats"),
        (r"((a|b))*", "repeats"),
        (r"(a?){50}", "repeats"),
        (r"((a{1,1000}){1,1000}){1,1000}b", "repeats"),
        (r"(?=(a+)+b)", "repeats"),
        (r"(?<=(?:a|b)+)c", "repeats"),
        (r".*.*;", "two open repetitions"),
        (r"x(?:a*)(?:a*)b", "two open repetitions"),
        (r"x|(?:a+b+c|d)", "two open repetitions"),
        (r"\w+(?=\w+;)\w*;", "two open repetitions"),
        (r"a{0,99}a{40,}b", "two open repetitions"),
        (r"(\w+)\s\1", "uses"),
        (r"(?<x>\w)\k<x>", "uses"),
        (r"(?<x>a\g<x>?)", "uses"),
        (r"(?(1)a|b)", "uses"),
        (r"(?~a)", "uses"),
        ("a" * (LONGEST + 1), "characters"),
    ],
)
def test_expressions_that_take_for_ever_are_refused(pattern: str, reason: str) -> None:
    assert reason in str(refusal(pattern))


@pytest.mark.parametrize(
    "pattern", ["", "[", "[^]]", "(", ")", "a)", "\\", "[[:alpha:]&&[^b]]+", "(?i)a", "a{,3}", "*", "{2}"]
)
def test_whatever_is_no_expression_is_read_to_its_end(pattern: str) -> None:
    assert refusal(pattern) is None  # what the engine makes of it is its own business
