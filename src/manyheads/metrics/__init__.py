"""Scores as pure functions over lists and numpy: no torch, and nothing heavy is imported.

    entities.py  spans with labels (conlleval)      answers.py  extractive answers (SQuAD)
    labels.py    one or many labels (scikit-learn)  vectors.py  similarity and retrieval (scipy)

Files of gold data and of any system's answers come to them through `scoring/`.

Every metric is a fraction, not percent; a division by zero is 0.
"""
