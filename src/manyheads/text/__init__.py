"""Strings to tokens and back.

tokenizer.py, template.py                         texts to tokens with character offsets; special tokens
tokenizer_files.py, tokenizer_checks.py           files of tokenizers, and checks of untrusted ones
windows.py, pack.py                               windows over long sources; sequences concatenated without padding
words.py, units.py, spans.py                      words independent of the tokenizer; tags of words to spans and back
entities.py, joining.py                           labelled rows of entity recognition; single words joined to texts
values.py, delimited.py, columns.py               values in data files; cells of csv and tsv; columns of CoNLL files
untrusted_files.py, patterns.py                   untrusted files and regular expressions
"""
