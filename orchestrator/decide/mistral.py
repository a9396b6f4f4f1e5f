"""Asks a language model through LangChain: the only place that knows of it.

LangChain's own reading of replies is not used: it closes truncated JSON, takes the first of two objects and the last of two equal keys. What
counts is the raw text of a message that ended by itself, read by `reply.parse`. Each question has its own event loop in its own thread and one
deadline for everything, because a read time-out alone does not end a slow drip, and a client does not survive several loops.

Source: https://docs.mistral.ai/api/#operation-chatCompletion
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.decide.breaker import Breaker
from orchestrator.decide.choice import ModelChoice, faults
from orchestrator.decide.plain import one_line
from orchestrator.decide.prompt import Prompt, Prompts
from orchestrator.decide.reply import LONGEST_REPLY, parse, schema
from orchestrator.errors import ModelUnavailable
from orchestrator.model import Alert, Context, Entry, Host

_LARGEST_BODY = 4 * 1024 * 1024
_GRACE_S = 2.0
_ROUNDS = 2


class ChatModel:
    """A chat model behind LangChain's `init_chat_model`.

    Args:
        name: the model's name, `mistral-large-latest`.
        provider: LangChain's name of the provider, `mistralai`.
        base_url: the provider's address, ending in `/v1`; empty: its own.
        api_key: the key; sent to the provider, shown nowhere.
        deadline_s: seconds for everything, the second round included.
        prompts: the templates.
        breaker: leaves the model alone after failures in a row.
    """

    def __init__(
        self, *, name: str, provider: str, base_url: str, api_key: str, deadline_s: float, prompts: Prompts, breaker: Breaker
    ) -> None:
        self.name = name
        self._provider, self._base_url, self._api_key = provider, base_url, api_key
        self._deadline_s, self._prompts, self._breaker = deadline_s, prompts, breaker

    @property
    def resting(self) -> bool:
        """Whether the breaker keeps the model from being asked at this moment."""
        return self._breaker.is_open

    def choose(self, alert: Alert, context: Context, entries: Sequence[Entry], hosts: Sequence[Host], tried: Sequence[str]) -> ModelChoice:
        """Ask the model; see `Model.choose`.

        Raises:
            ModelUnavailable: the breaker is open, or no usable answer came before the deadline.
        """
        if not self._breaker.admit():
            raise ModelUnavailable(f"{self.name} failed repeatedly and is left alone for a while")
        try:
            said = self._ask(alert, context, entries, hosts, tried)
        except ModelUnavailable:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return said

    def _ask(self, alert: Alert, context: Context, entries: Sequence[Entry], hosts: Sequence[Host], tried: Sequence[str]) -> ModelChoice:
        prompt = self._prompts.render(alert, context, entries, hosts, tried)
        shape = schema(alert, entries, hosts, [item.id for item in context.evidence])
        box: list[ModelChoice | BaseException] = []

        def work() -> None:
            try:
                box.append(asyncio.run(self._within_deadline(prompt, shape, alert, entries, hosts)))
            except BaseException as exc:  # noqa: BLE001 — handed to the caller, which names it without its text
                box.append(exc)

        thread = threading.Thread(target=work, name="model", daemon=True)
        thread.start()
        thread.join(self._deadline_s + _GRACE_S)
        match box:
            case [ModelChoice() as said]:
                return replace(said, prompt_digest=prompt.digest)
            case [ModelUnavailable() as exc]:
                raise ModelUnavailable(str(exc)) from None
            case [TimeoutError()] | []:
                raise ModelUnavailable(f"{self.name} gave no answer within {self._deadline_s:g} s") from None
            case [BaseException() as exc]:
                raise ModelUnavailable(f"{self.name} could not be asked: {_kind(exc)}") from None
        raise ModelUnavailable(f"{self.name} gave no answer")

    async def _within_deadline(
        self, prompt: Prompt, shape: dict[str, Any], alert: Alert, entries: Sequence[Entry], hosts: Sequence[Host]
    ) -> ModelChoice:
        return await asyncio.wait_for(self._rounds(prompt, shape, alert, entries, hosts), self._deadline_s)

    async def _rounds(
        self, prompt: Prompt, shape: dict[str, Any], alert: Alert, entries: Sequence[Entry], hosts: Sequence[Host]
    ) -> ModelChoice:
        """Ask, and once more with the faults named where the answer cannot be used."""
        from langsmith import tracing_context

        messages = [("system", prompt.system), ("human", prompt.user)]
        wrong: list[str] = []
        client = _client(self.name, self._provider, self._base_url, self._api_key, self._deadline_s)
        try:
            with tracing_context(enabled=False):
                for _ in range(_ROUNDS):
                    text = await _content(client, messages, shape)
                    wrong, said = _judged(text, alert, entries, hosts)
                    if said and not wrong:
                        return said
                    messages += [("ai", text[:LONGEST_REPLY]), ("human", self._prompts.repair(wrong))]
        finally:
            await _close(client)
        raise ModelUnavailable(f"{self.name} answered nothing usable: {one_line('; '.join(wrong), 400)}")


def _judged(text: str, alert: Alert, entries: Sequence[Entry], hosts: Sequence[Host]) -> tuple[list[str], ModelChoice | None]:
    """Return what is wrong with a reply, and the choice where it could be read."""
    try:
        said = parse(text)
    except ModelUnavailable as exc:
        return [str(exc)], None
    return faults(said, alert, entries, hosts), said


def _client(name: str, provider: str, base_url: str, api_key: str, timeout_s: float) -> Any:
    """Return a fresh LangChain chat model whose defaults are ours."""
    from langchain.chat_models import init_chat_model

    given: dict[str, Any] = {"temperature": 0, "max_retries": 1, "timeout": max(1, int(timeout_s)), "api_key": api_key}
    if base_url:
        given["base_url"] = base_url
    client = init_chat_model(name, model_provider=provider, **given)
    http: Any = getattr(client, "async_client", None)
    if hasattr(http, "event_hooks"):
        http.headers["accept-encoding"] = "identity"
        http.event_hooks = {"request": [], "response": [_bound]}
    return client


async def _content(client: Any, messages: Sequence[tuple[str, str]], shape: dict[str, Any]) -> str:
    """Return the raw text of a message that ended by itself."""
    wanted = {"type": "json_schema", "json_schema": {"name": "decision", "schema": shape, "strict": True}}
    message = await client.bind(response_format=wanted).ainvoke(list(messages))
    ended = message.response_metadata.get("finish_reason")
    if ended != "stop":
        raise ModelUnavailable(f"the answer did not end by itself (finish_reason {one_line(str(ended), 40)})")
    if not isinstance(message.content, str) or not message.content.strip():
        raise ModelUnavailable("the answer is empty")
    return message.content


async def _bound(response: Any) -> None:
    """Refuse a body that is packed or too large before it fills memory."""
    import httpx

    if response.headers.get("content-encoding", "identity") != "identity":
        raise ModelUnavailable("the answer is compressed, which was not asked for")

    class Bounded(httpx.AsyncByteStream):
        """The body, up to a number of bytes."""

        def __init__(self, stream: httpx.AsyncByteStream) -> None:
            self._stream, self._left = stream, _LARGEST_BODY

        async def __aiter__(self) -> Any:
            async for chunk in self._stream:
                self._left -= len(chunk)
                if self._left < 0:
                    raise ModelUnavailable(f"the answer is larger than {_LARGEST_BODY} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    response.stream = Bounded(response.stream)


async def _close(client: Any) -> None:
    """Close the client's connections, where it has any of the known kind."""
    asynchronous: Any = getattr(client, "async_client", None)
    blocking: Any = getattr(client, "client", None)
    if hasattr(asynchronous, "aclose"):
        await asynchronous.aclose()
    if hasattr(blocking, "close"):
        blocking.close()


def _kind(error: BaseException) -> str:
    """Return what kind of failure it was. Never its text: it may quote the request, the key in it, or the provider's page."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP {status}" if isinstance(status, int) else type(error).__name__
