"""A folder with data and a config, and models whose every answer is in the test's hands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.config import Config, load_config
from llm_batch.chain.options import Model
from llm_batch.chain.overrides import Overrides
from llm_batch.errors import ProviderError
from llm_batch.records import Completion, Request, Usage
from llm_batch.running.run import RunSummary, run
from llm_batch.sending.providers import PROVIDERS, Reply
from tests.builders import reply_to

Answers = Callable[[Request], "str | Completion | ProviderError"]

#: What every call uses: 100 tokens in, 10 out.
USAGE = Usage(100, 10)


class Scripted:
    """A model that answers from a function, without a lock around it."""

    vendor = "fake"
    on_this_machine = True
    simulated = True

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.requests: list[Request] = []

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        self.requests.append(request)
        answer = self.answers(request)
        if isinstance(answer, ProviderError):
            raise answer
        if isinstance(answer, str):
            answer = Completion(answer, "scripted", "stop", USAGE)
        return Reply(answer)

    def close(self) -> None:
        pass

    def sent(self) -> list[str]:
        """What was sent, as ``q1.generate``, sorted."""
        return sorted(f"{request.item_id}.{request.step}" for request in self.requests)


class Project:
    """A folder with data and a config, and models that answer from ``answers``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.answers: Answers = reply_to
        self.model = Scripted(self._answer)
        self.said: list[str] = []
        self.data(12)
        monkeypatch.setitem(PROVIDERS, "fake", self._provider)  # type: ignore[arg-type]

    def _provider(self, model: str, settings: Model, workers: int) -> Scripted:
        return self.model

    def _answer(self, request: Request) -> str | Completion | ProviderError:
        return self.answers(request)

    def data(self, count: int, words: int = 5) -> None:
        lines = [
            {"id": f"q{number}", "question": f"What is {number}?" + " word" * words, "answer": "x"}
            for number in range(count)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.folder / "q.jsonl").write_text(text)

    def config(
        self,
        *,
        sample: int = 0,
        judge: str = "Rate {{ generate }} for {{ question }}.",
        prices: tuple[float, float] | None = (1.0, 4.0),
        max_tokens: int = 20,
        engine: str = "threads",
        **limits: Any,
    ) -> Config:
        limits = {"workers": 4, "max_attempts": 2} | limits
        model = ""
        if prices is not None:
            model = f"input_price = {prices[0]}\noutput_price = {prices[1]}\n"
        path = self.folder / "llmb.toml"
        path.write_text(
            f"""
            [data]
            path = "q.jsonl"
            id = "id"
            [sample]
            size = {sample}
            [limits]
            {"; ".join(f"{k} = {v}" for k, v in limits.items()).replace("; ", chr(10))}
            [models."fake/a"]
            {model}
            [run]
            engine = "{engine}"
            [[steps]]
            name = "generate"
            model = "fake/a"
            prompt = "{{{{ question }}}}"
            max_tokens = {max_tokens}
            [[steps]]
            name = "judge"
            model = "fake/a"
            prompt = "{judge}"
            max_tokens = {max_tokens}
            output = {{ score = {{ type = "integer", min = 1, max = 5 }} }}
            [score]
            field = "judge.score"
            pass_at = 3
            """
        )
        return load_config(path, Overrides(output=str(self.results)))

    def run(self, config: Config | None = None, **more: Any) -> RunSummary:
        self.model.requests.clear()
        self.said.clear()
        return run(config or self.config(), say=self.said.append, **more)

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.results.read_bytes().splitlines()]

    def statuses(self) -> dict[str, str]:
        """By item; fails when an item is there twice."""
        lines = self.lines()
        found = {line["id"]: line["status"] for line in lines}
        assert len(found) == len(lines), "an item has two lines"
        return found

    def journal(self) -> list[dict[str, Any]]:
        path = self.folder / "results.calls.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()]

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "results.manifest.json").read_bytes())
        return found
