"""The language registry against facts written down independently of it."""

import dataclasses
import pathlib
import re
import subprocess
import sys
import unicodedata

import pytest

from mlit_jax import languages

_LID = pathlib.Path(__file__).parents[2] / "shared/data/lid/lid.176.ftz"

# code, ISO 639-3, FLORES-101, FLORES-200, Cloud Translation, lid.176, script.
_EXPECTED = """
en    eng  eng        eng_Latn  en     en   Latn
zh    zho  zho_simpl  zho_Hans  zh-CN  zh   Hans
ar    ara  ara        arb_Arab  ar     ar   Arab
he    heb  heb        heb_Hebr  he     he   Hebr
et    est  est        est_Latn  et     et   Latn
fi    fin  fin        fin_Latn  fi     fi   Latn
sw    swa  swh        swh_Latn  sw     sw   Latn
fa    fas  fas        pes_Arab  fa     fa   Arab
no    nor  nob        nob_Latn  no     no   Latn
sr    srp  srp        srp_Cyrl  sr     sr   Cyrl
hr    hrv  hrv        hrv_Latn  hr     hr   Latn
lv    lav  lav        lvs_Latn  lv     lv   Latn
ne    nep  npi        npi_Deva  ne     ne   Deva
or    ori  ory        ory_Orya  or     or   Orya
ps    pus  pus        pbt_Arab  ps     ps   Arab
az    aze  azj        azj_Latn  az     az   Latn
mn    mon  mon        khk_Cyrl  mn     mn   Cyrl
ms    msa  msa        zsm_Latn  ms     ms   Latn
uz    uzb  uzb        uzn_Latn  uz     uz   Latn
ff    ful  ful        fuv_Latn  ff     -    Latn
om    orm  orm        gaz_Latn  om     -    Latn
xh    xho  xho        xho_Latn  xh     -    Latn
jv    jav  jav        jav_Latn  jv     jv   Latn
tl    tgl  tgl        tgl_Latn  tl     tl   Latn
ckb   ckb  ckb        ckb_Arab  ckb    ckb  Arab
ceb   ceb  ceb        ceb_Latn  ceb    ceb  Latn
nso   nso  nso        nso_Latn  nso    -    Latn
luo   luo  luo        luo_Latn  luo    -    Latn
kea   kea  kea        kea_Latn  -      -    Latn
umb   umb  umb        umb_Latn  -      -    Latn
ast   ast  ast        ast_Latn  -      ast  Latn
ko    kor  kor        kor_Hang  ko     ko   Hang
ja    jpn  jpn        jpn_Jpan  ja     ja   Jpan
ka    kat  kat        kat_Geor  ka     ka   Geor
my    mya  mya        mya_Mymr  my     my   Mymr
si    sin  -          sin_Sinh  si     si   Sinh
ht    hat  -          hat_Latn  ht     ht   Latn
qu    que  -          quy_Latn  qu     qu   Latn
eu    eus  -          eus_Latn  eu     eu   Latn
gn    grn  -          grn_Latn  gn     gn   Latn
zh-Hant zho zho_trad  zho_Hant  zh-TW  zh   Hant
"""
_ROWS = [line.split() for line in _EXPECTED.strip().splitlines()]

# The table of codes in the FLORES-101 release's README.
_FLORES101 = """
afr amh ara hye asm ast azj bel ben bos bul mya cat ceb zho_simpl zho_trad hrv
ces dan nld eng est tgl fin fra ful glg lug kat deu ell guj hau heb hin hun isl
ibo ind gle ita jpn jav kea kam kan kaz khm kor kir lao lav lin lit luo ltz mkd
msa mal mlt mri mar mon npi nso nob nya oci ory orm pus fas pol por pan ron rus
srp sna snd slk slv som ckb spa swh swe tgk tam tel tha tur ukr umb urd uzb vie
cym wol xho yor zul
""".split()

_LUCKY52 = (
    "en zh af ar az bn cs de es et fa fi fr gl gu he hi hr id it ja ka kk km ko"
    " lt lv mk ml mn mr my ne nl pl ps pt ro ru si sl sv sw ta te th tl tr uk"
    " ur vi xh"
)


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0])
def test_codes_in_every_system(row):
  code, *rest = ["" if cell == "-" else cell for cell in row]
  language = languages.get(code)
  assert [
      language.code,
      language.iso639_3,
      language.flores101,
      language.flores200,
      language.translate,
      language.fasttext,
      language.script,
  ] == [code, *rest]


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0])
def test_a_code_of_any_system_finds_its_language(row):
  code, iso, *rest, lid, _ = row
  # The ISO and fastText codes of Chinese belong to the simplified row.
  found = [code, *rest] if code == "zh-Hant" else [code, iso, *rest, lid]
  for text in found:
    if text != "-":
      for spelt in (text, text.upper(), text.replace("_", "-").lower()):
        assert languages.get(spelt).code == code, spelt


@pytest.mark.parametrize(
    ("alias", "code"),
    [
        ("iw", "he"),
        ("jp", "ja"),
        ("in", "id"),
        ("jw", "jv"),
        ("fil", "tl"),
        ("nb", "no"),
        ("nob", "no"),
        ("cmn", "zh"),
        ("zho", "zh"),
        ("swa", "sw"),
        ("zh_CN", "zh"),
        ("zh-hans", "zh"),
        ("zh-tw", "zh-Hant"),
        ("zh_hant", "zh-Hant"),
        ("arb", "ar"),
        ("pes", "fa"),
        ("swahili", "sw"),
        (" Northern_Sotho ", "nso"),
        ("haitian creole", "ht"),
        ("Farsi", "fa"),
        ("Chinese", "zh"),
        ("Chinese (Traditional)", "zh-Hant"),
    ],
)
def test_aliases_and_names(alias, code):
  assert languages.get(alias).code == code


def test_every_key_names_one_language():
  claims = {}
  for language in languages.all_languages():
    cells = [getattr(language, s) for s in languages.SYSTEMS]
    for text in [*cells, language.name]:
      if text:
        claims.setdefault(text.casefold().replace("_", "-"), set()).add(
            language.code
        )
  shared = {key: codes for key, codes in claims.items() if len(codes) > 1}
  # Chinese in two scripts has one ISO code and one fastText label: both mean
  # the simplified row, and nothing else in the table is shared.
  assert shared == {"zho": {"zh", "zh-Hant"}, "zh": {"zh", "zh-Hant"}}
  assert languages.get("zho").code == languages.get("zh").code == "zh"
  for key, codes in claims.items():
    assert languages.get(key.replace("-", "_")).code in codes


def test_an_alias_of_two_languages_is_refused(monkeypatch):
  monkeypatch.setattr(languages, "_ALIASES", {"fra": "de"})
  with pytest.raises(ValueError, match="'fra' names both fr and de"):
    languages._index.__wrapped__()


def test_table_is_complete_and_well_formed():
  rows = languages.all_languages()
  assert len({x.code for x in rows}) == len({x.name for x in rows}) == len(rows)
  assert [x.code for x in rows] == sorted(x.code for x in rows)
  for x in rows:
    for field in ("name", "autonym", "family", "subfamily"):
      assert getattr(x, field).strip(), (x.code, field)
    assert re.fullmatch(r"[a-z]{2,3}(-Hant)?", x.code)
    assert re.fullmatch(r"[A-Z][a-z]{3}", x.script)
    assert re.fullmatch(r"[a-z]{3}", x.iso639_3)
    assert len(x.code) != 3 or x.code == x.iso639_3
    # FLORES-200 states the script too; the two columns must agree.
    assert x.flores200.partition("_")[2] == x.script
    for cell in dataclasses.astuple(x):
      assert cell == unicodedata.normalize("NFC", cell.strip())


# Unicode's name of the letters that each script's languages write with.
_LETTERS = {
    "Arab": "ARABIC",
    "Armn": "ARMENIAN",
    "Beng": "BENGALI",
    "Cyrl": "CYRILLIC",
    "Deva": "DEVANAGARI",
    "Ethi": "ETHIOPIC",
    "Geor": "GEORGIAN",
    "Grek": "GREEK",
    "Gujr": "GUJARATI",
    "Guru": "GURMUKHI",
    "Hang": "HANGUL",
    "Hans": "CJK",
    "Hant": "CJK",
    "Hebr": "HEBREW",
    "Jpan": "CJK",
    "Khmr": "KHMER",
    "Knda": "KANNADA",
    "Laoo": "LAO",
    "Latn": "LATIN",
    "Mlym": "MALAYALAM",
    "Mymr": "MYANMAR",
    "Orya": "ORIYA",
    "Sinh": "SINHALA",
    "Taml": "TAMIL",
    "Telu": "TELUGU",
    "Thai": "THAI",
}


def test_autonyms_are_written_in_their_script():
  for x in languages.all_languages():
    letters = [c for c in x.autonym if unicodedata.category(c)[0] == "L"]
    # The okina of Uzbek is a modifier letter of no script.
    letters = [c for c in letters if unicodedata.category(c) != "Lm"]
    names = {unicodedata.name(c).split()[0] for c in letters}
    assert {n.partition("-")[0] for n in names} == {_LETTERS[x.script]}, x.code


def test_right_to_left():
  rtl = {x.code for x in languages.all_languages() if x.is_rtl}
  assert rtl == {"ar", "ckb", "fa", "he", "ps", "sd", "ur"}


def test_slavic_branches_and_scripts():
  # pinch, Table 1.
  branches = {
      code: (x.family, x.subfamily, x.script)
      for code in languages.SETS["slavic"]
      for x in [languages.get(code)]
  }
  assert branches == {
      "ru": ("Indo-European", "Slavic-East", "Cyrl"),
      "sr": ("Indo-European", "Slavic-South", "Cyrl"),
      "hr": ("Indo-European", "Slavic-South", "Latn"),
      "sl": ("Indo-European", "Slavic-South", "Latn"),
      "pl": ("Indo-European", "Slavic-West", "Latn"),
      "sk": ("Indo-European", "Slavic-West", "Latn"),
      "cs": ("Indo-European", "Slavic-West", "Latn"),
  }


def test_families_of_pinch():
  # pinch, Table 2 (appendix A).
  families = {c: languages.get(c).family for c in languages.SETS["pinch"]}
  assert families == {
      "ar": "Afro-Asiatic",
      "zh": "Sino-Tibetan",
      "cs": "Indo-European",
      "en": "Indo-European",
      "et": "Uralic",
      "fi": "Uralic",
      "he": "Afro-Asiatic",
      "hi": "Indo-European",
      "it": "Indo-European",
      "ru": "Indo-European",
      "es": "Indo-European",
      "sw": "Niger-Congo",
  }


def test_lucky52_in_the_papers_order():
  assert " ".join(languages.SETS["lucky52"]) == _LUCKY52
  assert len(set(languages.SETS["lucky52"])) == 52
  # The positions that the paper's Figure 3 gives, counted from one.
  position = {c: i for i, c in enumerate(languages.SETS["lucky52"], start=1)}
  assert [position[c] for c in ("et", "it", "my", "ru", "th", "tr")] == [
      *(10, 20, 32, 39, 46, 48)
  ]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("pinch", "ar zh cs en et fi he hi it ru es sw"),
        ("pinch_seen_six", "en ar fi it ru sw"),
        ("pinch_unseen_six", "cs et he hi es zh"),
        ("slavic", "ru sr hr sl pl sk cs"),
        ("alpaca", "en bg cs zh de fi fr ru es"),
        ("alpaca_test", "en fr es bg ru zh bn no"),
        ("polyglot", "en de fr it es"),
        ("xllama", "ar el hi tr vi zh"),
        ("xcopa", "et ht id it qu sw ta th tr vi zh"),
        ("xstorycloze", "ar en es eu hi id my ru sw te zh"),
        ("xwinograd", "en fr ja pt ru zh"),
    ],
)
def test_the_papers_sets(name, codes):
  assert " ".join(languages.SETS[name]) == codes


def test_sets_are_made_of_known_short_codes():
  assert len(list(languages.SETS)) == len(languages.SETS) == 14
  for name, codes in languages.SETS.items():
    assert len(set(codes)) == len(codes), name
    assert [languages.get(c).code for c in codes] == list(codes), name
  six, other = (languages.SETS[f"pinch_{x}_six"] for x in ("seen", "unseen"))
  assert sorted(six + other) == sorted(languages.SETS["pinch"])


def test_flores101_is_the_releases_list():
  found = [languages.get(c) for c in languages.SETS["flores101"]]
  assert [x.flores101 for x in found] == sorted(_FLORES101)
  # 101 languages; the two scripts of Chinese make 102 distinct codes.
  assert len({x.flores101 for x in found}) == 102
  assert len({x.iso639_3 for x in found}) == 101
  assert languages.SETS["flores101"][:3] == ("af", "am", "ar")
  assert languages.SETS["flores101"][-3:] == ("zh", "zh-Hant", "zu")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("swahil", "unknown language 'swahil'; did you mean sw (Swahili)?"),
        ("frr", "unknown language 'frr'; did you mean fr (French) or "),
        ("pt-BR", "unknown language 'pt-BR'; did you mean pt (Portuguese)"),
        ("xqzj", "unknown language 'xqzj'; known are af am ar "),
        ("", "unknown language ''; known are af am ar "),
        ("en\nfr", "unknown language 'en\\nfr'"),
        (None, "a language code must be text, not None"),
    ],
)
def test_unknown_language_suggests_the_nearest(code, message):
  with pytest.raises(languages.UnknownLanguageError) as error:
    languages.get(code)
  assert str(error.value).startswith(message)
  assert "\n" not in str(error.value)
  assert isinstance(error.value, ValueError)


def test_to_a_system():
  assert languages.get("heb_Hebr").to("translate") == "he"
  assert languages.get("no").to("flores101") == "nob"
  assert languages.get("zh-Hant").to("fasttext") == "zh"
  with pytest.raises(
      languages.UnknownLanguageError, match=r"^Xhosa \(xh\) has no fasttext"
  ):
    languages.get("xh").to("fasttext")
  with pytest.raises(ValueError, match="unknown code system 'iso'; there are"):
    languages.get("xh").to("iso")


def test_a_language_is_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    languages.get("en").code = "de"


def test_fasttext_labels_are_those_of_the_model():
  if not _LID.exists():
    pytest.skip(f"{_LID} is not here: the labels cannot be compared")
  labels = re.findall(rb"__label__([a-z]+)", _LID.read_bytes())
  labels = {label.decode() for label in labels}
  assert len(labels) == 176
  for x in languages.all_languages():
    if x.fasttext:
      assert x.fasttext in labels
    else:
      assert not {x.code, x.iso639_3} & labels, x.code


def test_import_reads_nothing_and_pulls_in_nothing_heavy():
  program = (
      "import sys; from mlit_jax import languages;"
      "print(languages.all_languages.cache_info().currsize,"
      " sorted({'jax', 'numpy', 'tensorflow', 'difflib', 'csv',"
      " 'importlib.resources'} & set(sys.modules)))"
  )
  # -S: what site itself imports (from .pth files) is not the registry's doing.
  result = subprocess.run(
      [sys.executable, "-S", "-c", program],
      cwd=pathlib.Path(languages.__file__).parents[1],
      capture_output=True,
      text=True,
      check=True,
  )
  assert result.stdout == "0 []\n"
