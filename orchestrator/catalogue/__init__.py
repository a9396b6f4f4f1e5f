"""The closed catalogue: entry folders and role specs → `Catalogue`; parameters, lint, scaffold."""

from orchestrator.catalogue.block import block_schema
from orchestrator.catalogue.cache import CatalogueCache
from orchestrator.catalogue.files import digest_of
from orchestrator.catalogue.loader import load
from orchestrator.catalogue.parameters import check_names, check_parameters, schema

__all__ = [
    "CatalogueCache",
    "block_schema",
    "check_names",
    "check_parameters",
    "digest_of",
    "load",
    "schema",
]
