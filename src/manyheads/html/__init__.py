"""Parts of an HTML page that know nothing of tasks or runs: pure functions from data to a string.

    markup.py   elements; whatever is not markup is escaped     numbers.py  figures as a reader wants them
    tables.py   tables that scroll in their own box             page.py     the document and its sections
    figures/    one file = one figure                           findings.py how texts are quoted there

Decided here:
- A page opens offline: no address, no script, no font. A policy in its head forbids what is not there.
- A figure is HTML around SVG without a viewBox: positions are percentages and letters keep their size, at any width.
- Colours say nothing alone: series differ in marks and dashes, verdicts in signs and words, spans in underlines.
- Every figure is followed by its numbers.
"""
