"""CoNLL columns under any name; what is no column of words and tags is refused."""

from __future__ import annotations

import pytest

from datafiles import NER, errors_of, refusal_of, rows_of
from manyheads.data.formats.rows import RawRow


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv", "a.bio", "eng.train", "plain", "a.conll.gz", "A.TSV.GZ"])
def test_conll_columns_are_read_under_any_name(write, name):
    path = write(name, "EU\tB-ORG\nrejects\tO\n\nGermany\tB-LOC\n")
    assert rows_of(path, NER) == [
        RawRow({"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"], "document": ""}, f"{path}:1", 2),
        RawRow({"tokens": ["Germany"], "tags": ["B-LOC"], "document": ""}, f"{path}:4", 1),
    ]


def test_four_columns_docstart_runs_of_spaces_and_blank_lines_of_tabs(write):
    path = write(
        "eng.train",
        "-DOCSTART- -X- O O\r\n\r\nEU NNP  I-NP I-ORG\r\n\t\r\n \nso RB O O\n-DOCSTART- -X- O O\nPeter NNP I-NP I-PER",
    )
    rows = rows_of(path, NER)
    assert [row.values["tokens"] for row in rows] == [["EU"], ["so"], ["Peter"]]
    assert [row.values["tags"] for row in rows] == [["I-ORG"], ["O"], ["I-PER"]]
    assert [row.values["document"] for row in rows] == ["eng.train#1", "eng.train#1", "eng.train#2"]
    assert [row.where for row in rows] == ["eng.train:3", "eng.train:6", "eng.train:8"]


def test_lines_of_public_corpora_that_are_no_words_are_passed_over(write):
    medline = "###MEDLINE:95\n\nIL-2\tB-DNA\ngene\tI-DNA\n\n###MEDLINE:96\n\nIt\tO\nran\tO\n"  # JNLPBA
    rows = rows_of(write("a.iob2", medline), NER)
    assert [(row.values["tokens"], row.values["document"], row.where) for row in rows] == [
        (["IL-2", "gene"], "a.iob2#1", "a.iob2:3"), (["It", "ran"], "a.iob2#2", "a.iob2:8"),
    ]  # fmt: skip
    multiconer = "".join(f"# id fcc-{i} domain=en\nthe _ _ O\nowl _ _ B-CW\n\n" for i in range(3))
    assert [row.values["tokens"] for row in rows_of(write("a.conll", multiconer), NER)] == [["the", "owl"]] * 3


def test_only_tabs_and_spaces_separate_columns(write):
    path = write("a.conll", "10\u00a0mg B-DOSE\nwas\u2028watched O\n\u3000 O\n")
    assert rows_of(path, NER)[0].values["tokens"] == ["10\u00a0mg", "was\u2028watched", "\u3000"]
    assert rows_of(write("b.tsv", "New York\tB-LOC\n"), NER)[0].values["tokens"] == ["New York"]


def test_conll_column_count_that_changes_is_refused(write):
    path = write("ner/train.conll", "EU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nGermany NNP I-LOC\n")
    assert refusal_of(path, NER) == (
        "ner/train.conll:4 has 3 columns, the lines before it have 4; fix the line or split the file"
    )
    path = write("ner/train.tsv", "EU\tB-ORG\nrejects\t\n")
    assert refusal_of(path, NER) == (
        "ner/train.tsv:2 has 1 column, the lines before it have 2; fix the line or split the file"
    )


def test_conll_without_tags_or_words_is_refused(write):
    assert refusal_of(write("a.txt", "\nEU\n"), NER) == (
        "a.txt:2 has 1 column, a word and its tag are needed; separate them by a space or a tab"
    )
    assert refusal_of(write("b.tsv", "EU\tO\n\tO\n"), NER) == (
        "b.tsv:2 has an empty first column; put the word there, or remove the line"
    )


CONLLU = """# newdoc id = one
# sent_id = 1
# text = Ana Ruiz left Oslo.
1\tAna\tana\tPROPN\t_\t_\t0\troot\t_\tB-PER
2\tRuiz\truiz\tPROPN\t_\t_\t1\tflat\t_\tI-PER
3\tleft\tleave\tVERB\t_\t_\t1\tx\t_\tO
4\tOslo\toslo\tPROPN\t_\t_\t1\tx\t_\tB-LOC|SpaceAfter=No
5\t.\t.\tPUNCT\t_\t_\t1\tx\t_\tO

# newdoc id = two
# sent_id = 2
1-2\tzum\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tzu\tzu\tADP\t_\t_\t0\troot\t_\tO
2\tdem\tder\tDET\t_\t_\t1\tx\t_\tO
2.1\tempty\t_\t_\t_\t_\t_\t_\t_\t_
3\tRhein\trhein\tPROPN\t_\t_\t1\tx\t_\tB-LOC
"""
PLAIN = [(["Ana", "Ruiz", "left", "Oslo", "."], ["B-PER", "I-PER", "O", "B-LOC", "O"]),
         (["zu", "dem", "Rhein"], ["O", "O", "B-LOC"])]  # fmt: skip


def words_of(rows):
    return [(row.values["tokens"], row.values["tags"]) for row in rows]


def test_conllu_is_read_without_its_comments_ranges_and_empty_nodes(write):
    rows = rows_of(write("a.conllu", CONLLU), NER)
    assert words_of(rows) == PLAIN
    assert [row.values["space_after"] for row in rows] == [[True, True, True, False, True], [True, False, True]]
    assert [row.values["document"] for row in rows] == ["a.conllu#1", "a.conllu#2"]
    assert [row.where for row in rows] == ["a.conllu:4", "a.conllu:13"]
    assert [row.lines for row in rows] == [5, 1]  # the places of words after an empty node cannot be counted
    assert [row.notes for row in rows] == [
        ("CoNLL-U: column 2 is read as the word and the last column as its tag",),
        (),
    ]


def test_tags_in_an_attribute_of_conllu_are_found_and_words_without_it_have_none(write):
    content = CONLLU.replace("\tO\n", "\t_\n").replace("\tB-", "\tNER=B-").replace("\tI-", "\tNER=I-")
    rows = rows_of(write("a.conllu", content), NER)
    assert words_of(rows) == PLAIN
    assert rows[0].notes == ("CoNLL-U: column 2 is read as the word and NER= in the last column as its tag",)
    without = content.replace("NER=B-", "Name=").replace("NER=I-", "Name=")
    assert refusal_of(write("b.conllu", without), NER) == (
        "b.conllu has no tags: neither the last column nor an attribute of CoNLL-U in it (NER=B-PER) holds O, B-, I-; "
        "add them, or name their column as in columns: {tags: 4}"
    )


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("separator", [" ", "\t"])
def test_a_counter_as_first_column_is_noticed(write, start, separator):
    def column(words, tags, first):
        return "".join(
            f"{first + i}{separator}{w}{separator}{t}\n" for i, (w, t) in enumerate(zip(words, tags, strict=True))
        )

    path = write("a.conll", "\n".join(column(words, tags, start) for words, tags in PLAIN))
    rows = rows_of(path, NER)
    assert words_of(rows) == PLAIN
    assert rows[0].notes == (
        "its first column counts the words: column 2 is read as the word and the last column as its tag",
    )
    through = column(*PLAIN[0], start) + "\n" + column(*PLAIN[1], start + 5)  # it counts through the whole file
    assert words_of(rows_of(write("b.conll", through), NER)) == PLAIN


def test_a_tag_column_that_is_not_the_last_is_found_where_a_counter_tells_the_columns(write):
    lines = [f"{i}\t{word}\t{tag}\t-\tana" for i, (word, tag) in enumerate(zip(*PLAIN[0], strict=True), 1)]
    rows = rows_of(write("a.iob2", "# sent_id = 1\n# text = x\n" + "\n".join(lines)), NER)
    assert words_of(rows) == PLAIN[:1]


def test_numbers_that_are_words_are_no_counter(write):
    assert rows_of(write("a.conll", "12 O\n13 O\nmice O\n\n3 O\nof O\n"), NER)[0].values["tokens"] == [
        "12",
        "13",
        "mice",
    ]
    assert refusal_of(write("b.conll", "1 O\n2 O\n3 B-X\n4 O\n5 O\n"), NER) == (
        "b.conll has two columns and the first counts the words, so the words are missing; put them between number and tag"
    )


def test_a_line_out_of_turn_is_refused_where_a_counter_tells(write):
    lines = CONLLU.splitlines(keepends=True)
    for gone, place, seen, before in ((5, 6, "4", 2), (8, None, "", 0)):
        found = refusal_of(write("a.conllu", "".join(lines[:gone] + lines[gone + 1 :])), NER)
        if place is None:
            assert found == "a.conllu:9 is a comment in the middle of a sentence; put an empty line before it"
        else:
            assert found.startswith(f"a.conllu:{place} has '{seen}' in its first column, which counts the words, and the line "
                                    f"before has {before}; ")  # fmt: skip


def test_hash_signs_are_words_where_they_have_the_columns_of_words(write):
    path = write("a.conll", "# text = a b\n# O\n#tag B-X\n\n# a remark of four words\n# B-X\n#tag O\n")
    assert words_of(rows_of(path, NER)) == [(["#", "#tag"], ["O", "B-X"]), (["#", "#tag"], ["B-X", "O"])]
    assert refusal_of(write("b.conll", "a O\n\n#tag\n"), NER).startswith("b.conll:3 has 1 column, the lines before")


def test_columns_of_carriage_returns_alone_are_read_and_one_in_a_line_is_refused(write):
    assert words_of(rows_of(write("a.conll", "Oslo B-LOC\rgrew O\r\rfast O\r"), NER)) == [
        (["Oslo", "grew"], ["B-LOC", "O"]), (["fast"], ["O"])
    ]  # fmt: skip
    assert refusal_of(write("b.conll", "a O\rb O\nc O\n"), NER).startswith("b.conll:1 ")
    assert "carriage return" in refusal_of(write("c.tsv", "a\rb\tO\nc\tO\n"), NER)


def test_all_mistakes_of_a_file_are_told_at_once_each_with_its_line(write):
    lines = ["Ada B-PER", "wrote O", "to", "Bo B-", "and X", "", "It O", "# text = It rains", "rains\rnow O", "hard O", "",
             "Selby I_LOC", "is O", "far"]  # fmt: skip
    assert [line.split(";")[0] for line in errors_of(write("a.conll", "\n".join(lines)), NER)] == [
        "a.conll:3 has 1 column, the lines before it have 2",
        "a.conll:4: tag 'B-' has no label",
        "a.conll:5: tag 'X' is none of O, B-, I-, E-, S-, U-, L- with a label",
        "a.conll:8 is a comment in the middle of a sentence",
        "a.conll:9 has a carriage return in the middle of a line",
        "a.conll:12: tag 'I_LOC' is none of O, B-, I-, E-, S-, U-, L- with a label",
        "a.conll:14 has 1 column, the lines before it have 2",
    ]
    found = errors_of(write("b.conll", "Ada B-PER\n" * 60 + "wrote\nit O\n" * 50), NER)
    assert (len(found), found[-1]) == (21, "there are more; reading stopped after 20")
    found = errors_of(write("c.conll", "Ada B-PER\n" + "wrote PER\n" * 50), NER)
    assert (len(found), found[19].split(":")[1]) == (21, "21")


def test_a_line_out_of_order_is_told_once(write):
    broken = CONLLU.replace("3\tleft", "7\tleft").replace("5\t.\t", "5\t\t").replace("3\tRhein", "5\tRhein") + "\n# text = cut\n"
    content, before = f"{CONLLU}\n{broken}", CONLLU.count("\n") + 1
    assert [line.split(",")[0].split(";")[0] for line in errors_of(write("a.conllu", content), NER)] == [
        f"a.conllu:{before + 6} has '7' in its first column",
        f"a.conllu:{before + 7} has '4' in its first column",
        f"a.conllu:{before + 8} has no word in its second column",
        f"a.conllu:{before + 16} has '5' in its first column",
        f"a.conllu:{before + 18} is a comment without a sentence after it",
    ]
    wide = CONLLU.replace("2\tRuiz", "2\tRuiz\tR")
    assert [line.split(",")[0] for line in errors_of(write("b.conllu", wide), NER)] == ["b.conllu:5 has 11 columns"]


def test_a_file_whose_lines_have_another_width_than_its_first_is_told_in_few_lines(write):
    assert len(errors_of(write("a.conll", "Ada B-PER\n" + "wrote VBD O\n" * 50), NER)) == 3
    assert len(errors_of(write("b.conll", "wrote\n" * 50), NER)) == 3
