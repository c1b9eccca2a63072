"""Strings to tokens and back.

tokenizer.py, template.py, tokenizer_files.py   texts to tokens with character offsets; special tokens; files
windows.py, pack.py                             long sources in windows; sequences laid end to end
words.py, spans.py                              words whatever the tokenizer; tags of words to spans and back
values.py, separated.py                         what values of other people's files mean; lines to the cells of csv and tsv
columns.py                                      what the columns of a CoNLL file mean
"""
