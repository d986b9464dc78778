"""Sources: where examples come from, as Instruction records or documents."""

from mlit_jax.data.sources.pocket import pocket_documents, pocket_instructions
from mlit_jax.data.sources.registry import (
    SOURCES,
    describe,
    open_documents,
    open_source,
)
from mlit_jax.data.sources.source import Document, Source, SourceError

__all__ = [
    "SOURCES", "Document", "Source", "SourceError", "describe",
    "open_documents", "open_source", "pocket_documents", "pocket_instructions",
]
