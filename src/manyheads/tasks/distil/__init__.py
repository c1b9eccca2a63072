"""What tasks take from a teacher: one file for each kind of answer, `base.py` is what they all answer."""
