"""From files to examples.

readers.py, formats/, hub.py, saved_datasets.py   rows with their places; one file per format
build.py, report.py                               each row read by its task once; what was read, skipped and refused
table.py, cache.py                                examples by index from a memory-mapped file; the folder of these files
split.py, validate.py                             a validation split of train; the contents of a dataset, and problems with it
joined_examples.py, stream.py                     neighbouring rows joined to examples; their endless shuffled order
sampler.py                                        tokens of each task per step: shares.py, active_steps.py, schedule.py
requests.py, text_lines.py, python_inputs.py      rows to answer: from files and streams, plain texts, Python
"""
