"""Metrics as pure functions of lists and numpy arrays, without torch or other heavy imports.

    entities.py  spans with labels (conlleval)      answers.py  extractive answers (SQuAD)
    labels.py    one or many labels (scikit-learn)  vectors.py  similarity and retrieval (scipy)

`scoring/` applies them to files of gold data and of any system's answers.

Every metric is a fraction, not a percentage; a division by zero gives 0.
"""
