"""From files to examples.

readers.py, formats/, hub.py   rows, each with the place it came from; one file = one format
build.py, report.py            rows through their task once; what was read, skipped and refused
table.py, cache.py             examples by index from a memory-mapped file; where these files are kept, and how long
split.py, validate.py          a validation part of train; what a data set holds and what is wrong with it
stream.py                      the endless shuffled order
sampler.py                     how much of each task a step trains on, from shares.py, windows.py and stretches.py
requests.py                    rows to be answered, whose JSON strict_json.py reads
"""
