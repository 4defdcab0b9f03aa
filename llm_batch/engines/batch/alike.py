"""Batch APIs that are like OpenAI's: those of Groq, Mistral and Together.

Groq: https://console.groq.com/docs/batch and the types of its Python package. Mistral:
https://docs.mistral.ai/capabilities/batch and the types of its package. Together:
https://docs.together.ai/docs/inference/batch/overview and its reference.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from llm_batch.engines.batch import api
from llm_batch.engines.batch.api import Fields, Line
from llm_batch.engines.batch.openai import NAME, OpenAIBatches
from llm_batch.engines.batch.vendors import ours
from llm_batch.sending.providers import Prepared

#: Jobs on a page of Mistral's list.
_PAGE = 100


class GroqBatches(OpenAIBatches):
    """OpenAI's, below ``/openai/v1``; the pages of its list have cursors of their own."""

    most_bytes = 100_000_000

    def _more(self, after: str) -> str:
        return f"cursor={quote(after)}" if after else ""

    def _next(self, page: object, since: float) -> str | None:
        fields = Fields(page)
        if not api.listed(page, "data"):
            return None
        named = fields.fields("paging").text("next_cursor")
        return named if named or fields.flag("has_more") else None


class MistralBatches(OpenAIBatches):
    """Jobs of input files, below ``/batch/jobs``; a model for the job, and counts beside its state.

    The vendor allows larger files; more than this is held in memory for nothing.
    """

    most_requests = 100_000
    jobs = "/batch/jobs"
    outputs = ("output_file", "error_file")

    def __init__(self, like: Prepared, vendor: str) -> None:
        super().__init__(like, vendor)
        self._model = msgspec.json.decode(like.body, type=dict[str, Any])["model"]

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        self._page = 0
        return super().find(own_id, since, marker, size, others)

    def _more(self, after: str) -> str:
        return f"page={after or 0}&page_size={_PAGE}"

    def _next(self, page: object, since: float) -> str | None:
        self._page += 1
        jobs, total = len(api.listed(page, "data")), Fields(page).count("total")
        # One that does not say how many there are has another page behind every full one.
        more = self._page * _PAGE < total if total else jobs >= _PAGE
        return str(self._page) if jobs and more else None

    def _line(self, custom_id: str, body: bytes) -> dict[str, object]:
        return {"custom_id": custom_id, "body": msgspec.Raw(body)}

    def _creation(self, own_id: str, uploaded: str) -> dict[str, object]:
        return {
            "input_files": [uploaded],
            "endpoint": self._endpoint,
            "model": self._model,
            "metadata": {NAME: own_id},
            "timeout_hours": 24,
        }

    def _counts(self, job: Fields) -> tuple[int, int, int]:
        names = ("total_requests", "succeeded_requests", "failed_requests")
        total, succeeded, failed = map(job.count, names)
        return total, succeeded, failed


class TogetherBatches(OpenAIBatches):
    """Its jobs carry no words of ours: they are known by the file of requests they were made of."""

    most_bytes = 100_000_000
    files = "/files/upload"
    purpose = "batch-api"

    def __init__(self, like: Prepared, vendor: str) -> None:
        super().__init__(like, vendor)
        self._uploaded = ""

    def upload(self, own_id: str, lines: Sequence[Line]) -> str:
        self._uploaded = super().upload(own_id, lines)
        return self._uploaded

    def marker(self) -> str:
        return self._uploaded

    def find(
        self, own_id: str, since: float, marker: str, size: int, others: Collection[str]
    ) -> str | None:
        jobs = api.listed(self._http.json("GET", self._path(self.jobs)), "data")
        return ours(jobs, marker, "id", ("input_file_id",), others)

    def _described(self, own_id: str) -> dict[str, str]:
        return {"file_name": f"{own_id}.jsonl", "file_type": "jsonl"}

    def _line(self, custom_id: str, body: bytes) -> dict[str, object]:
        return {"custom_id": custom_id, "body": msgspec.Raw(body)}

    def _creation(self, own_id: str, uploaded: str) -> dict[str, object]:
        return {
            "input_file_id": uploaded,
            "endpoint": self._endpoint,
            "completion_window": "24h",
        }


#: By vendor.
ALIKE: dict[str, type[OpenAIBatches]] = {
    "openai": OpenAIBatches,
    "azure": OpenAIBatches,
    "groq": GroqBatches,
    "mistral": MistralBatches,
    "together_ai": TogetherBatches,
}
