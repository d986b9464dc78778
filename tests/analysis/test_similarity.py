"""Language similarity: sums by hand over URIEL's own features."""

import math

import numpy as np
import pytest

from mlit_jax import languages
from mlit_jax.analysis import similarity
from mlit_jax.errors import UsageError

# Families of Glottolog in URIEL: Arabic 5, Hebrew 7, of which 4 shared;
# Finnish 3, Estonian 2, of which 2 shared; Chinese 1, alone.
ARABIC_HEBREW = 4 / math.sqrt(5 * 7)
FINNISH_ESTONIAN = 2 / math.sqrt(3 * 2)


def test_the_aggregate_is_the_sum_by_hand():
  genetic = similarity.uriel("genetic")
  found = similarity.aggregate(genetic, ["he", "zh", "fi", "ar"], "ar")
  assert found == pytest.approx(ARABIC_HEBREW + 0 + 0 + 1)
  assert similarity.aggregate(genetic, ["fi"], "et") == pytest.approx(
      FINNISH_ESTONIAN
  )
  table = similarity.from_table({("en", "de"): 0.5, ("fr", "en"): 0.25})
  assert similarity.aggregate(table, ["en", "de", "fr"], "en") == 1.75
  assert similarity.aggregate(table, [], "en") == 0


@pytest.mark.parametrize("measure", similarity.URIEL)
def test_every_measure_is_a_similarity_of_all_the_papers_languages(measure):
  compare = similarity.uriel(measure)
  codes = languages.SETS["lucky52"]
  values = np.array([[compare(a, b) for b in codes] for a in codes])
  assert np.allclose(values, values.T)
  assert np.allclose(np.diag(values), 1)
  assert values.min() >= 0 and values.max() <= 1 + 1e-12
  assert len(np.unique(values.round(6))) > 50


def test_distance_is_that_between_places():
  geographic = similarity.uriel("geographic")
  # London to Beijing 8,140 km, to Madrid 1,260 km, by the globe's shape;
  # URIEL's places are not quite the capitals.
  half = 20_015
  assert (1 - geographic("en", "zh")) * half == pytest.approx(8_140, rel=0.03)
  assert (1 - geographic("en", "es")) * half == pytest.approx(1_260, rel=0.15)
  near, far, farther = (geographic("es", x) for x in ("pt", "ru", "zh"))
  assert near > far > farther


def test_an_isolate_is_like_nobody_but_itself():
  genetic = similarity.uriel("genetic")
  assert genetic("eu", "es") == 0 and genetic("eu", "eu") == 1


def test_featural_joins_the_three_typological_sets():
  parts = ("syntactic", "phonological", "inventory")
  vectors = [similarity._features(part, "en") for part in parts]
  joined = similarity._features("featural", "en")
  assert joined.size == sum(v.size for v in vectors) == 289
  assert joined.sum() == sum(v.sum() for v in vectors)
  en, de = joined, similarity._features("featural", "de")
  shared = float((en * de).sum())
  by_hand = shared / math.sqrt(en.sum() * de.sum())
  assert similarity.uriel("featural")("en", "de") == pytest.approx(by_hand)


def test_sounds_come_from_the_users_table(tmp_path):
  path = tmp_path / "sounds.csv"
  path.write_text("a,b,similarity\nen,German,0.5\nzho,en,0.125\n")
  found = similarity.measures(path)
  assert list(found) == [*similarity.URIEL, "sound"]
  assert found["sound"]("de", "en") == 0.5
  assert found["sound"]("en", "zh") == 0.125
  assert found["sound"]("de", "de") == 1
  with pytest.raises(ValueError, match="no similarity of de and zh"):
    found["sound"]("de", "zh")
  assert list(similarity.measures()) == list(similarity.URIEL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("en,de,0.5\n", "no column 'a'"),
        ("a,b,similarity\nen,de,1.5\n", "line 2: .*between 0 and 1"),
        ("a,b,similarity\nen,de,nan\n", "line 2: .*between 0 and 1"),
        ("a,b,similarity\nen,de,half\n", "line 2: .*'half' is not a number"),
        ("a,b,similarity\nen,xx,0.5\n", "line 2: .*xx"),
        ("a,b,similarity\nen\n", "line 2: "),
        ("a,b,similarity\nen,de,.5\nde,en,.6\n", "line 3: .*another value"),
    ],
)
def test_a_bad_table_names_its_line(tmp_path, text, words):
  path = tmp_path / "sounds.csv"
  path.write_text(text)
  with pytest.raises(UsageError, match=words) as error:
    similarity.read_table(path)
  assert "\n" not in str(error.value)
  with pytest.raises(UsageError, match="cannot be read"):
    similarity.read_table(tmp_path / "nowhere.csv")


def test_unknown_measures_and_languages_are_refused():
  with pytest.raises(ValueError, match="no measure 'sound'"):
    similarity.uriel("sound")
  with pytest.raises(ValueError, match="qq"):
    similarity.uriel("genetic")("en", "qq")


def test_a_missing_library_is_named_at_once(monkeypatch):
  monkeypatch.setattr(
      similarity.importlib.util, "find_spec", lambda name: None
  )
  with pytest.raises(UsageError, match="pip install lang2vec"):
    similarity.uriel("genetic")
