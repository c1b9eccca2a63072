"""The annotation loop: which rows to label next (`pick`), and which labels are probably wrong (`review`).

pick_command.py  the command              review_command.py    the command
pick.py          rows to picked rows      review.py            labelled examples to findings
scores.py        how much a row teaches   cross_validation.py  heads that were not trained on the labels they judge
pool.py          the best of a stream     labelled.py          examples of several splits
choose.py        score and diversity      listing.py           findings as jsonl and csv
diversity.py     points unlike another    page.py              findings as HTML
vectors.py       a vector for each row
reasons.py       why a row was picked
identity.py      when two rows are the same
"""
