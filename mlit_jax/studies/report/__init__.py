"""The report of a study: one HTML page, figures and tables from its JSON files.

`page.write_report` reads `results.json`, `answers.jsonl` and `judgments.jsonl`
of a study directory and needs neither JAX nor TensorFlow, so a report can be
rebuilt on any machine that the directory was copied to:

  results.py    what results.json says, as dataclasses
  reading.py    reads and checks it
  answers.py    answers.jsonl, checked
  judged.py     judgments.jsonl, checked
  browser.py    both as compressed blocks of data for the page (packing.py)
  findings.py   what the numbers say, and what they do not, in sentences
  sections.py   the numbers as the page shows them, with their captions
  charts.py     geometry of the page's drawings
  figures.py    the same figures for print
  tables.py     the CSV tables; latex.py, pinch_latex.py those for papers
  page.py       puts it together; template.html, style.css, *.js
"""
