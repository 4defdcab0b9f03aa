"""How gateways and vendors change what they say of a job, by name; see `BatchServer.shape`.

``python -m tests.batch_server --shape NAME`` plays one by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Shape = Callable[[Any], Any]
WORDS = "the input file could not be parsed"


def each(change: Callable[[dict[str, Any]], Any]) -> Shape:
    """A shape of every job that is shown, in a list as well."""

    def shape(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in ("data", "operations"):
            if isinstance(value.get(name), list):
                return value | {name: [change(dict(job)) for job in value[name]]}
        is_job = {"status", "processing_status", "metadata"} & set(value)
        return change(dict(value)) if is_job and value.get("object") != "file" else value

    return shape


def having(**fields: Any) -> Shape:
    """Jobs with these fields, whatever they had there."""
    return each(lambda job: job | fields)


def failing(**fields: Any) -> Shape:
    """Jobs that have ended in a failure, with these fields."""

    def change(job: dict[str, Any]) -> Any:
        return job | {"status": "failed", "output_file_id": None, "error_file_id": None} | fields

    return each(change)


def spelled(spell: Callable[[str], str], field: str = "status") -> Shape:
    """Jobs whose state is spelled otherwise."""
    return each(lambda job: job | {field: spell(job[field])})


def counted(change: Callable[[Any], Any]) -> Shape:
    """Jobs whose counts are written otherwise."""
    return each(lambda job: job | {"request_counts": change(job["request_counts"])})


def about(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Shape:
    """Jobs of Gemini's whose metadata are otherwise."""
    return each(lambda job: job | {"metadata": change(dict(job["metadata"]))})


def _without_state(job: dict[str, Any]) -> dict[str, Any]:
    """Only whether it is done tells, as of any long-running operation of Google's."""
    ended = job["done"] and not job["metadata"]["state"].endswith("RUNNING")
    return job | {"metadata": {"displayName": job["metadata"]["displayName"]}} if ended else job


#: Of Anthropic's batches and Gemini's.
OTHERS: dict[str, dict[str, Shape]] = {
    "anthropic": {
        "counts_null": having(request_counts=None),
        "counts_text": having(request_counts="4 of 4"),
        "counts_late": each(
            lambda job: job if job["results_url"] else job | {"request_counts": {"processing": 0}}
        ),
        "no_address": having(results_url=None),
        "address_elsewhere": each(
            lambda job: job | {"results_url": job["results_url"] and "https://example.com/x"}
        ),
        "upper_case": spelled(str.upper, "processing_status"),
        "in_batch": lambda value: {"batch": value} if "processing_status" in value else value,
    },
    "gemini": {
        "job_state": about(lambda job: job | {"state": job["state"].replace("BATCH", "JOB")}),
        "lower_case": about(lambda job: job | {"state": job["state"].lower()}),
        "in_part": about(
            lambda job: job | {"state": job["state"].replace("SUCC", "PARTIALLY_SUCC")}
        ),
        "stats_null": about(lambda job: job | {"batchStats": None}),
        "no_state": each(_without_state),
        "error_empty": having(error={}),
        "in_list": lambda value: [value] if "done" in value else value,
    },
}

#: Of OpenAI's batches.
SHAPES: dict[str, Shape] = {
    # What is to be read all the same.
    "counts_null": counted(lambda counts: None),
    "counts_text": counted(lambda counts: {k: str(v) for k, v in counts.items()}),
    "counts_list": counted(lambda counts: list(counts.values())),
    "counts_huge": counted(lambda counts: dict.fromkeys(counts, 10**30)),
    "metadata_text": each(lambda job: job | {"metadata": str(job["metadata"])}),
    "metadata_list": each(lambda job: job | {"metadata": [{"value": job["metadata"]}]}),
    "in_job": lambda value: {"job": value} if "status" in value else value,
    "in_data": lambda value: {"code": 0, "status": "success", "data": value},
    "in_list": lambda value: [value] if "status" in value else value,
    "files_as_objects": each(
        lambda job: job | {k: {"id": job[k]} for k in ("output_file_id", "error_file_id") if job[k]}
    ),
    "files_empty": each(
        lambda job: job | {k: job[k] or "" for k in ("output_file_id", "error_file_id")}
    ),
    "times_text": having(created_at="2026-01-01T00:00:00Z", completed_at="soon", expires_at=None),
    "times_odd": having(created_at=[1], completed_at={}, expires_at=-1),
    "upper_case": spelled(str.upper),
    "camel_case": spelled(lambda word: word.title().replace("_", "")),
    "job_state": spelled(lambda word: f"JOB_STATE_{word.upper()}"),
    "american": spelled(lambda word: word.replace("cancell", "cancel")),
    # What ends a job.
    "errors_text": failing(errors=WORDS),
    "errors_list": failing(errors=[WORDS]),
    "errors_rows": failing(errors=[{"message": WORDS}]),
    "errors_row": failing(errors={"data": {"message": WORDS, "code": 7}}),
    "errors_nested": failing(errors={"error": {"detail": [{"msg": WORDS}]}}),
    "errors_null": failing(errors=None),
    "errors_data_null": failing(errors={"data": None, "object": "list"}),
    "errors_elsewhere": failing(errors=[], error={"message": WORDS}),
    # What nobody knows.
    "state_unknown": each(lambda job: job | {"status": "dreaming"}),
    "state_null": each(lambda job: job | {"status": None}),
}
