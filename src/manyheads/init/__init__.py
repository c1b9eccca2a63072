"""`manyheads init`: a run file from data files.

`sources.py` finds data among files and folders; `recognition.py` reads the beginning of each with every task type and
chooses; `further.py` finds other labels of the same texts; `drafts.py` groups files into tasks with their splits;
`run_file.py` writes them; `command.py` checks the result as `validate` does. `examples.py` writes a small project.
Guesses are made here and told to the user; training makes none.
"""
