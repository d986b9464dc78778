"""The work of the steps that train and answer, as partials of these functions.

What a step is can then be read from it: together.py joins steps of one work.
"""

from mlit_jax import records
from mlit_jax.studies import material, steps, steps_answers, steps_training


def build(
    place, show, *, vocabulary, recipe, sources, template, shuffled, max_length
) -> None:
  """The work of a step that builds a run's data.

  Args:
    place: the step's.
    show: shows the progress.
    vocabulary: the step that has the tokenizer.
    recipe, template, max_length: as of steps.build_instructions.
    sources: the study's own.
    shuffled: whether responses are exchanged.
  """
  del show
  steps.build_instructions(
      place.directory, place.of(vocabulary), recipe, sources,
      template=template, shuffle_responses=shuffled, max_length=max_length,
  )


def train(
    place, show, *, data, vocabulary, base, model, options, seed
) -> None:
  """The work of a training step.

  Args:
    place: the step's.
    show: shows the progress.
    data: the step that built the data; of adapters trained together, run ->
      step: each then has a directory of its name in the step's.
    vocabulary: the step that has the tokenizer.
    base: the system to start from; None: none.
    model, options, seed: as of steps_training.train.
  """
  if isinstance(data, str):
    runs = [steps_training.Run(place.of(data), place.directory)]
  else:
    runs = [
        steps_training.Run(place.of(step), place.directory / name)
        for name, step in data.items()
    ]
  steps_training.train(
      place.directory, runs, place.of(vocabulary),
      base=place.of(f"model-{base}") / steps.MODEL if base else None,
      model=model, options=options, seed=seed, show=show,
  )


def take_adapter(place, show, *, shared: str, name: str) -> None:
  """The work of a run's step if it is trained with others in `shared`."""
  del show
  steps_training.take(place.of(shared) / name, place.directory)


def decode(
    place, show, *, systems, asked, languages, sources, **options
) -> None:
  """The work of a decoding step; several systems have a file each.

  Args:
    place: the step's.
    show: shows the progress.
    systems: who answers, all over one base.
    asked: the material whose prompts they answer.
    languages: in which.
    sources: the study's own.
    **options: of steps_answers.decode.
  """
  outputs = {systems[0]: place.directory / steps.RESPONSES}
  if len(systems) > 1:
    outputs = {x: place.directory / f"{x}.jsonl" for x in systems}
  steps_answers.decode(
      outputs, {x: place.of(f"model-{x}") / steps.MODEL for x in systems},
      material.prompts(asked, languages, sources), show=show, **options,
  )


def take_answers(place, show, *, shared: str, name: str) -> None:
  """The work of a decoding step if it answers with others in `shared`."""
  del show
  text = (place.of(shared) / f"{name}.jsonl").read_text(encoding="utf-8")
  records.write_text(place.directory / steps.RESPONSES, [text])
