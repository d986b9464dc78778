"""Log-likelihood throughput beside lm-evaluation-harness's own back end.

  python benchmarks/score.py DATA [RUNS [ITEMS]]      prints a Markdown table

DATA is a folder with xcopa/, xwinograd/ and a SentencePiece model under
tokenizers/; of each language the first ITEMS count (100), but for texts with
two spaces in a row, which transformers does not split as SentencePiece does.
Both score the same requests with the same weights (a LLaMA of 23 million
parameters, float32) in one process; runs alternate, after one each that does
not count (compiling). The goal is 1.5 times the harness's throughput. The ratio
of processor times is given too: on a shared machine it varies less.
"""

import functools
import itertools
import pathlib
import statistics
import sys
import tempfile
import time

BATCH = 32
WORK = (
    ("XCOPA", "xcopa", ("et", "it", "sw", "zh")),
    ("XWinograd", "xwinograd", ("en", "fr", "pt")),
)


def write_model(place: pathlib.Path, tokenizer: pathlib.Path) -> None:
  """A random LLaMA with that tokenizer, as transformers writes it."""
  import torch
  import transformers

  from mlit_jax.models.interchange import tokenizer_json

  torch.manual_seed(0)
  config = transformers.LlamaConfig(
      vocab_size=32000, hidden_size=384, intermediate_size=1024,
      num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=6,
      max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=1,
      eos_token_id=2,
  )
  transformers.LlamaForCausalLM(config).save_pretrained(place)
  tokenizer_json.write_sentencepiece(place, tokenizer.read_bytes())


def measure(data: pathlib.Path, runs: int = 3, items: int = 100) -> None:
  """Prints the table."""
  from lm_eval.api.instance import Instance
  from lm_eval.models.huggingface import HFLM

  from mlit_jax import cpu
  from mlit_jax.evals import benchmarks, scoring

  cpu.keep_freed_memory()
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    (tokenizer,) = (data / "tokenizers").glob("tokenizer*.model")
    write_model(place, tokenizer)
    ours = scoring.LanguageModel(place, batch_size=BATCH)
    theirs = HFLM(
        pretrained=folder, device="cpu", dtype="float32", batch_size=BATCH
    )
  print("| requests | pairs | ours, pairs/s | theirs | ratio | by processor |")
  print("|---|---|---|---|---|---|")
  for label, name, langs in WORK:
    pairs = [
        pair
        for lang in langs
        for item in itertools.islice(
            benchmarks.BENCHMARKS[name].items(data, lang), items
        )
        for pair in item.options if "  " not in "".join(pair)
    ]
    requests = [
        Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)
    ]
    sides = {
        "ours": functools.partial(ours.score, pairs),
        "theirs": functools.partial(
            theirs.loglikelihood, requests, disable_tqdm=True
        ),
    }
    results, times, work = {}, {side: [] for side in sides}, {}
    for run in range(runs + 1):
      for side, score in sides.items():
        began = time.perf_counter(), time.process_time()
        results[side] = score()
        times[side].append(time.perf_counter() - began[0])
        if run:  # the first one compiles
          work[side] = work.get(side, 0) + time.process_time() - began[1]
    gap = max(
        abs(score.logprob - logprob)
        for score, (logprob, _) in zip(*results.values(), strict=True)
    )
    assert gap < 1e-3, gap
    speeds = {
        side: sorted(len(pairs) / s for s in seconds[1:])
        for side, seconds in times.items()
    }
    ratios = [
        b / a for a, b in zip(*times.values(), strict=True)
    ][1:]
    cells = [
        f"{statistics.median(s):.0f} ({s[0]:.0f}–{s[-1]:.0f})"
        for s in speeds.values()
    ]
    print(
        f"| {label} | {len(pairs)} | {' | '.join(cells)} |"
        f" {statistics.median(ratios):.2f} |"
        f" {work['theirs'] / work['ours']:.2f} |"
    )
    print(
        f"  first run, with compiling: ours {times['ours'][0]:.0f} s, theirs"
        f" {times['theirs'][0]:.0f} s; largest difference {gap:.1e}",
        file=sys.stderr,
    )


if __name__ == "__main__":
  measure(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
