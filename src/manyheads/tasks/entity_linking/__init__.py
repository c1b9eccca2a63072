"""Links from the entities of another task to a dictionary.

    terms.py        the dictionary's file
    spelling.py     equal and similar names (character trigrams); vectors.py: nearest vectors
    dictionary.py   the concepts, and the candidates of a mention; strings.py: strings as arrays
    mentions.py     vectors of mentions and names
    training.py     targets and loss
    decoding.py     answers from candidates; ranking.py: what ranks them, fitted on validation data
    scores.py       metrics
    store.py        the dictionary in the model folder
    task.py         settings
"""

from manyheads.tasks.entity_linking.task import EntityLinking

__all__ = ["EntityLinking"]
