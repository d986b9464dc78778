"""The registry of languages: codes in every system, families, papers' sets.

One row of `languages.tsv` is one language in one script. `get` finds a row by
any name the surrounding tools use for it, so that the rest of the project
speaks the short codes of the papers alone:

  get("swh_Latn").code             -> "sw"
  get("iw").to("flores200")        -> "heb_Hebr"
  [get(c).name for c in SETS["slavic"]]
"""

import dataclasses
import functools
import types
from collections.abc import Iterator, Mapping

# The code systems a language can be asked for; each is a column of the table.
SYSTEMS = (
    "code",
    "iso639_3",
    "flores101",
    "flores200",
    "translate",
    "fasttext",
)

_RTL_SCRIPTS = frozenset({"Adlm", "Arab", "Hebr", "Nkoo", "Syrc", "Thaa"})

# What people and tools write besides the columns of the table: withdrawn codes
# (iw in jw), country codes taken for languages (jp), members of a macrolanguage
# that no FLORES column names, and common English names.
_ALIASES = types.MappingProxyType({
    "iw": "he",
    "in": "id",
    "jw": "jv",
    "jp": "ja",
    "fil": "tl",
    "nb": "no",
    "cmn": "zh",
    "zh-Hans": "zh",
    "cmn-Hans": "zh",
    "cmn-Hant": "zh-Hant",
    "ekk": "et",
    "Chinese (Simplified)": "zh",
    "Simplified Chinese": "zh",
    "Traditional Chinese": "zh-Hant",
    "Mandarin": "zh",
    "Farsi": "fa",
    "Filipino": "tl",
    "Norwegian Bokmål": "no",
    "Sorani Kurdish": "ckb",
    "Oriya": "or",
    "Panjabi": "pa",
    "Pushto": "ps",
    "Chichewa": "ny",
    "Sepedi": "nso",
    "Fula": "ff",
    "Luganda": "lg",
    "Kirghiz": "ky",
    "Haitian": "ht",
    "Malaysian": "ms",
})


class UnknownLanguageError(ValueError):
  """A code or name that is in no system, or a system without the language."""


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
  """A language in one script, with its code in every system.

  Attributes:
    code: the project's own code: ISO 639-1 where there is one, else ISO 639-3;
      Traditional Chinese is `zh-Hant`.
    name: English name.
    autonym: the language's own name, in its own script.
    family: e.g. "Indo-European".
    subfamily: branch, e.g. "Slavic-East"; the three Slavic branches differ, as
      pinch section 4.1 (Table 1) needs.
    script: ISO 15924, e.g. "Cyrl".
    iso639_3: ISO 639-3, the macrolanguage where the short code stands for one.
    flores101: FLORES-101 file code, e.g. "zho_simpl"; "" if not in FLORES-101.
    flores200: FLORES-200 and NLLB code, e.g. "zho_Hans".
    translate: a code that Cloud Translation v3 accepts, "" if it has none.
    fasttext: label of lid.176 without `__label__`, "" if it has none. The two
      Chinese rows share one: the label does not tell the scripts apart.
  """

  code: str
  name: str
  autonym: str
  family: str
  subfamily: str
  script: str
  iso639_3: str
  flores101: str
  flores200: str
  translate: str
  fasttext: str

  @property
  def is_rtl(self) -> bool:
    """Whether the script runs from right to left."""
    return self.script in _RTL_SCRIPTS

  def to(self, system: str) -> str:
    """The language's code in one of SYSTEMS.

    Raises:
      UnknownLanguageError: that system does not have this language.
      ValueError: there is no such system.
    """
    if system not in SYSTEMS:
      raise ValueError(
          f"unknown code system {system!r}; there are {', '.join(SYSTEMS)}"
      )
    code = getattr(self, system)
    if not code:
      raise UnknownLanguageError(
          f"{self.name} ({self.code}) has no {system} code"
      )
    return code


@functools.cache
def all_languages() -> tuple[Language, ...]:
  """Every language, in alphabetical order of the short codes."""
  # Imported here because the module itself must cost next to nothing.
  from importlib import resources

  table = resources.files(__package__) / "languages.tsv"
  header, *lines = table.read_text(encoding="utf-8").splitlines()
  columns = header.split("\t")
  return tuple(
      Language(**dict(zip(columns, line.split("\t"), strict=True)))
      for line in lines
  )


def get(code: str) -> Language:
  """The language that a code or English name of any system stands for.

  Args:
    code: a short, ISO 639-3, FLORES-101, FLORES-200 (with or without its
      script), Cloud Translation or fastText code, an English name or a common
      alias; case does not matter, and `-`, `_` and a space are the same.

  Raises:
    UnknownLanguageError: nothing has that name; one line with the nearest.
  """
  if not isinstance(code, str):
    raise UnknownLanguageError(f"a language code must be text, not {code!r}")
  try:
    return _index()[_key(code)]
  except KeyError:
    raise UnknownLanguageError(_unknown(code)) from None


def _key(text: str) -> str:
  return text.strip().casefold().replace("_", "-").replace(" ", "-")


def _names(language: Language) -> Iterator[str]:
  """Everything in the row that the language can be looked up by."""
  for field in (*SYSTEMS, "name"):
    if name := getattr(language, field):
      yield name
  # NLLB's users often drop the script; it also gives the individual languages
  # behind a macrolanguage (arb, pes, zsm).
  yield language.flores200.partition("_")[0]


@functools.cache
def _index() -> Mapping[str, Language]:
  """Key -> language; refuses a key that two languages claim."""
  index: dict[str, Language] = {}

  def claim(name: str, language: Language):
    owner = index.setdefault(_key(name), language)
    if owner is language:
      return
    # A script variant (zh-Hant) shares ISO and fastText codes with its base,
    # which keeps them: its own code is the base's with the script added.
    if language.code.startswith(f"{owner.code}-"):
      return
    raise ValueError(
        f"languages.tsv: {name!r} names both {owner.code} and {language.code}"
    )

  # Sorted, so that a base language comes before its script variants.
  for language in sorted(all_languages(), key=lambda x: x.code):
    for name in _names(language):
      claim(name, language)
  by_code = {x.code: x for x in all_languages()}
  for alias, code in _ALIASES.items():
    claim(alias, by_code[code])
  return types.MappingProxyType(index)


def _unknown(code: str) -> str:
  """One line for a code that nothing has, with up to three near ones."""
  import difflib  # only ever needed for an error

  index = _index()
  # More keys than languages are asked for, as several lead to one language. A
  # known code with a region or script behind it (pt-BR) comes first.
  base = _key(code).partition("-")[0]
  near = [base] if base in index else []
  near += difflib.get_close_matches(_key(code), index, n=9, cutoff=0.6)
  found = list(dict.fromkeys(index[key] for key in near))[:3]
  if found:
    hint = " or ".join(f"{x.code} ({x.name})" for x in found)
    return f"unknown language {code!r:.60}; did you mean {hint}?"
  codes = " ".join(x.code for x in all_languages())
  return f"unknown language {code!r:.60}; known are {codes}"


_SETS = {
    # pinch, section 2 and Table 2 (experiment 1, Fig. 1): tuning and evaluation
    # languages, in the paper's order, that of their English names.
    "pinch": "ar zh cs en et fi he hi it ru es sw",
    # pinch, section 3.3 (experiment 3, Fig. 4): the six that are tuned on ...
    "pinch_seen_six": "en ar fi it ru sw",
    # ... and the six that are only evaluated (also experiment 4, Fig. 5).
    "pinch_unseen_six": "cs et he hi es zh",
    # pinch, section 4.1, Table 1 (experiment 6, Fig. 7).
    "slavic": "ru sr hr sl pl sk cs",
    # lucky52, section 2.2: model k is tuned on the first k.
    "lucky52": (
        "en zh af ar az bn cs de es et fa fi fr gl gu he hi hr id it ja ka kk"
        " km ko lt lv mk ml mn mr my ne nl pl ps pt ro ru si sl sv sw ta te th"
        " tl tr uk ur vi xh"
    ),
    # alpaca, section 2.1: English and the eight translations, N = 9.
    "alpaca": "en bg cs zh de fi fr ru es",
    # alpaca, section 2.3 (test data): six seen languages, then two unseen.
    "alpaca_test": "en fr es bg ru zh bn no",
    # polyglot, method: the languages of Lima-X, Bactrian-X and MT-Bench-X.
    "polyglot": "en de fr it es",
    # xllama, section 1, footnote 2: a CoIT model each, one MuIT model for all.
    "xllama": "ar el hi tr vi zh",
    # What BLOOM was pre-trained on (Laurençon et al. 2022, ROOTS), without code
    # and the eleven African languages that the registry does not have.
    "bloom": (
        "ar as bn ca en es eu fr gu hi id ig kn lg ln ml mr ne nso ny or pa pt"
        " sn sw ta te ur vi wo xh yo zh zh-Hant zu"
    ),
    # lucky52, section 3.2 and Tables 1, 2 and 3: the evaluation languages, in
    # the benchmarks' alphabetical order. The paper writes jp for Japanese.
    "xcopa": "et ht id it qu sw ta th tr vi zh",
    "xstorycloze": "ar en es eu hi id my ru sw te zh",
    "xwinograd": "en fr ja pt ru zh",
}


class _Sets(Mapping[str, tuple[str, ...]]):
  """The sets above and FLORES-101's, which is a column of the table."""

  def __getitem__(self, name: str) -> tuple[str, ...]:
    if name == "flores101":
      return _flores101()
    return tuple(_SETS[name].split())

  def __iter__(self) -> Iterator[str]:
    yield from _SETS
    yield "flores101"

  def __len__(self) -> int:
    return len(_SETS) + 1


@functools.cache
def _flores101() -> tuple[str, ...]:
  """FLORES-101 (xllama's translation benchmark) in the order of its codes.

  101 languages and 102 codes: Chinese stands in it in both scripts.
  """
  rows = [x for x in all_languages() if x.flores101]
  return tuple(x.code for x in sorted(rows, key=lambda x: x.flores101))


# The papers' language sets: name -> short codes, in the paper's order.
SETS: Mapping[str, tuple[str, ...]] = _Sets()
