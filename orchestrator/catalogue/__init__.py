"""The closed catalogue: entry folders and role specs → `Catalogue`; parameters, lint, scaffold."""

from orchestrator.catalogue.block import block_schema
from orchestrator.catalogue.cache import CatalogueCache
from orchestrator.catalogue.cases import EntryTest, entry_tests
from orchestrator.catalogue.files import digest_of
from orchestrator.catalogue.finding import Finding
from orchestrator.catalogue.lint import lint
from orchestrator.catalogue.loader import load
from orchestrator.catalogue.parameters import check_names, check_parameters, schema
from orchestrator.catalogue.playtest import PlayTest, play_tests
from orchestrator.catalogue.scaffold import Sketch, scaffold
from orchestrator.catalogue.spec_schema import SCHEMA_FILE, meta_schema

__all__ = [
    "SCHEMA_FILE",
    "CatalogueCache",
    "EntryTest",
    "Finding",
    "PlayTest",
    "Sketch",
    "block_schema",
    "check_names",
    "check_parameters",
    "digest_of",
    "entry_tests",
    "lint",
    "load",
    "meta_schema",
    "play_tests",
    "scaffold",
    "schema",
]
