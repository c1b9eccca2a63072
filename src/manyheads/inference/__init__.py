"""A model that has been loaded: the device it runs on, and what can be read from it.

    loaded.py         folders to loaded models             padded_model.py   the model as a torch module on padded rows
    hidden_states.py  vectors of tokens                    questions.py      answers of one task, and probabilities
    changed_weights.py  what was changed through the torch module, and a folder of it

`manyheads.api` wraps it for users; the command, the server and training use it as it is.
"""

from manyheads.inference.loaded import LoadedModel, load_model

__all__ = ["LoadedModel", "load_model"]
