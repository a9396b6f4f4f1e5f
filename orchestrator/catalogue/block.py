"""Our `catalogue:` block inside a playbook's spec file, as pydantic reads it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints, field_validator, model_validator

from orchestrator import matcher
from orchestrator.errors import UsageError
from orchestrator.model import CheckMode, EntryKind, Risk, UndoPolicy

Text = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=2000)]
Label = Annotated[str, StringConstraints(strict=True, pattern=r"^labels\.[A-Za-z_][A-Za-z0-9_]*$")]
FileName = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_-]+\.ya?ml$")]
GroupName = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
EntryId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9_]*$")]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class _Strict(BaseModel):
    """A part of the block: keys that are not named here are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class TargetsBlock(_Strict):
    """Which hosts the entry may touch."""

    source: Label = Field("labels.instance", alias="from", description="The label that names the host.")
    groups: tuple[GroupName, ...] = Field((), description="The host must be in one of these inventory groups; empty: any host.")
    max_hosts: StrictInt = Field(1, ge=1, le=1000, description="How many hosts one run may touch.")


class VerifyBlock(_Strict):
    """How success is shown."""

    playbook: FileName = Field("verify.yml", description="The read-only health check in the entry's folder.")
    promql: tuple[Text, ...] = Field((), description="Queries that must hold; $instance and other $label stand for the alert's labels.")
    settle_s: Seconds = Field(0.0, description="Wait this long before the first look.")
    within_s: Seconds = Field(60.0, description="Health has to show within this time.")


class Block(_Strict):
    """What the catalogue knows of an entry beyond Ansible's own spec."""

    kind: EntryKind = Field(description="remediation changes something; diagnostic only reads.")
    use_when: tuple[Text, ...] = Field(min_length=1, description="When the entry fits, in words.")
    never_when: tuple[Text, ...] = Field((), description="When it must not be used, in words.")
    matchers: tuple[tuple[Text, ...], ...] = Field((), description="Alertmanager's matchers; any line matches, all in a line must.")
    targets: TargetsBlock = Field(TargetsBlock(), description="Which hosts the entry may touch.")
    risk: Risk = Field(Risk.HIGH, description="How much harm it can do.")
    reversible: StrictBool = Field(False, description="Whether undo.yml takes it back.")
    undo: FileName | None = Field(None, description="The playbook that takes it back.")
    undo_policy: UndoPolicy = Field(
        UndoPolicy.NONE, description="offer: a person may start the undo; auto: it starts where semantics allow."
    )
    check_mode: CheckMode = Field(CheckMode.NONE, description="How honestly check mode predicts the entry.")
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = Field(300.0, description="The longest a play may take.")
    cooldown_s: Seconds = Field(300.0, description="No second run on one host within this time.")
    preconditions: tuple[Text, ...] = Field((), description="PromQL, each must hold before a run.")
    verify: VerifyBlock | None = Field(None, description="How success is shown; a remediation must have it.")
    order: StrictInt = Field(1000, ge=0, le=1_000_000, description="Smaller wins where matchers overlap.")
    diagnostics: tuple[EntryId, ...] = Field((), description="Diagnostic entries that run before deciding.")
    approvers: tuple[Text, ...] = Field((), description="Groups of people who may approve; empty: any approver.")
    owners: tuple[Text, ...] = Field((), description="Who looks after the entry.")
    max_parallel: StrictInt = Field(0, ge=0, le=10_000, description="Changing runs of this entry at once; 0: no limit of its own.")
    read_as_root: StrictBool = Field(False, description="Read-only plays may become root, once an admin has admitted the digest.")

    @field_validator("matchers")
    @classmethod
    def _matchers(cls, lines: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for line in lines:
            try:
                fits_nothing_given = matcher.matches_all(line, {})
            except UsageError as exc:
                raise ValueError(str(exc)) from exc
            if fits_nothing_given:
                raise ValueError(f"the line {list(line)} would match an alert without labels; ask for at least one label")
        return lines

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind is EntryKind.REMEDIATION and self.verify is None:
            raise ValueError("a remediation needs verify: how is its success shown?")
        if self.kind is EntryKind.DIAGNOSTIC and self.reversible:
            raise ValueError("a diagnostic changes nothing, so reversible must be false")
        if not self.reversible and (self.undo or self.undo_policy is not UndoPolicy.NONE):
            raise ValueError("reversible: false allows neither undo nor undo_policy")
        if self.reversible and (not self.undo or self.undo_policy is UndoPolicy.NONE):
            raise ValueError("reversible: true needs undo: undo.yml and undo_policy: offer or auto")
        return self


def block_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the `catalogue:` block."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Block.model_json_schema(by_alias=True)}
