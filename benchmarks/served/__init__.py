"""The parts of benchmarks/serving.py.

texts.py    a mixed load of four tasks from public data sets
client.py   requests over plain sockets, arriving at random times whatever the server does
ours.py     `manyheads serve` in a process of its own
peers.py    one litserve process for each task; infinity
rates.py    parts `load`, `embeddings` and `overload`
rows.py     parts `poison`, `company` and `planted`
crowd.py    part `crowd`
ends.py     part `kills`
hostile.py  parts `bodies` and `keys`
lit.py      one litserve process
hook/       makes workers raise over poison rows
"""
