"""Building blocks of an HTML page, independent of tasks and runs: pure functions from data to a string.

    markup.py   elements, with escaping                  numbers.py   formatting of numbers
    tables.py   tables that scroll in their own box      page.py      the document and its sections
    figures/    one file per figure                      findings.py  quotations of texts with mistakes

Decided here:
- A page works offline: no links to other hosts, no scripts, no fonts; a Content-Security-Policy enforces it.
- A figure is HTML around SVG without a viewBox: positions are percentages, so text keeps its size at any width.
- No information is in colour alone: series also differ in marks and dashes, verdicts in signs and words, spans in underlines.
- Every figure is followed by a table of its numbers.
"""
