"""What the browser of answers needs: an index, and blocks of rows.

Blocks are as small as what is looked at together, so that little is unpacked
at a time: the questions of a language, a system's answers to them, the
judgments of two systems (or of one alone) there.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import markupsafe

from mlit_jax import languages as languages_lib
from mlit_jax.studies.report import answers as answers_lib
from mlit_jax.studies.report import judged, packing

# Bytes in a page for the judge's own words. Beyond them only verdicts go in.
ROOM = 24_000_000


@dataclasses.dataclass(frozen=True)
class Browser:
  """What browser.html shows.

  Attributes:
    count: questions, over all languages.
    languages: of the questions.
    index: for the script.
    blocks: (id of the element, content).
    files: names of the files that it was read from.
    num_cut: pairs of systems whose judgments stand there without the judge's
      words, for want of room.
    empty: system -> (answers with nothing to be seen, answers).
  """

  count: int
  languages: Sequence[languages_lib.Language]
  index: markupsafe.Markup
  blocks: Sequence[tuple[str, markupsafe.Markup]]
  files: Sequence[str]
  num_cut: int
  empty: Mapping[str, tuple[int, int]]


def build(
    directory: str | os.PathLike,
    codes: Sequence[str],
    labels: Mapping[str, str],
    own: Mapping[str, str],
    base: str,
    room: int = ROOM,
) -> Browser:
  """Reads a study's answers and judgments.

  Args:
    directory: of the study.
    codes: its languages.
    labels: its systems -> what a reader calls them.
    own: language -> the system tuned on it alone.
    base: the untuned system.
    room: bytes for the judge's own words.

  Raises:
    RecordError: a row of the files does not fit; names file and line.
  """
  found = answers_lib.read(directory, codes, list(labels))
  questions = {
      code: {row[0]: i for i, row in enumerate(rows)}
      for code, rows in found.rows.items()
  }
  replies = judged.read(directory, found.systems, questions)
  blocks, asked = [], {}
  for code, rows in found.rows.items():
    blocks.append((f"q-{code}", packing.pack([row[:3] for row in rows])))
    asked[code] = []
    for i in range(len(found.systems)):
      column = [row[3][i] for row in rows]
      if any(column):
        asked[code].append(i)
        blocks.append((f"a-{code}-{i}", packing.pack(column)))
  num_cut = 0
  for (code, first, second), rows in sorted(
      replies.items(), key=lambda item: tuple(map(str, item[0]))
  ):
    packed = packing.pack(rows)
    if len(packed) > room:
      num_cut += 1
      packed = packing.pack(judged.without_words(rows))
    else:
      room -= len(packed)
    last = "" if second is None else f"-{second}"
    blocks.append((f"j-{code}-{first}{last}", packed))
  index = {
      "systems": [[name, labels.get(name, name)] for name in found.systems],
      "languages": {
          code: {
              "name": language.name,
              "autonym": language.autonym,
              "dir": "rtl" if language.is_rtl else "ltr",
              "own": own.get(code, ""),
              "count": len(found.rows.get(code, ())),
              "asked": asked.get(code, []),
          }
          for code, language in sorted(found.languages.items())
      },
      "order": list(found.rows),
      "base": base,
  }
  return Browser(
      count=sum(map(len, found.rows.values())),
      languages=[found.languages[code] for code in found.rows],
      index=packing.embed(index),
      blocks=blocks,
      files=[
          *([answers_lib.FILE_NAME] if found.rows else ()),
          *([judged.FILE_NAME] if replies else ()),
      ],
      num_cut=num_cut,
      empty=_empty(found),
  )


def _empty(found: answers_lib.Answers) -> dict[str, tuple[int, int]]:
  counted = {}
  for i, name in enumerate(found.systems):
    texts = [row[3][i][0] for rows in found.rows.values() for row in rows
             if row[3][i]]
    counted[name] = sum(not text.strip() for text in texts), len(texts)
  return counted
