"""From files to examples: readers.py and hub.py (formats), table.py (validated once, kept on disk), validate.py (what a
data set holds), stream.py (the shuffled order) and sampler.py (how much of each task a step trains on).
"""
