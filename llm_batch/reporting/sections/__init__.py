"""What a report shows to people: sections of tables and sentences, before any markup.

The formats for people (text, Markdown, HTML) differ only in how they draw these, so that a
figure reads the same in all of them. Texts from the data are cleaned here, not escaped: how to
escape is the format's own knowledge.
"""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table
from llm_batch.reporting.model import Report
from llm_batch.reporting.sections.judge import against_labels, against_reference, several_judges
from llm_batch.reporting.sections.money import pace, tokens_and_cost
from llm_batch.reporting.sections.result import by_group, distribution, failures, result, time

#: The section with the sentence that a paper can take over.
FOR_PAPER = "For the paper"

__all__ = [
    "FOR_PAPER",
    "Document",
    "Section",
    "Table",
    "document",
    "origin",
    "sections",
]


def document(report: Report) -> Document:
    """A report as people read it."""
    return Document(
        report.headline,
        origin(report),
        tuple(sections(report)),
        warnings=tuple((sentence, "") for sentence in report.warnings),
        next_steps=report.next_steps,
    )


def origin(report: Report) -> tuple[str, ...]:
    """Which file and run this is about, as one line or two."""
    run = report.run
    named = [words.clean(report.path)]
    if run.id:
        named.append(f"run {words.clean(run.id, 60)}")
    if run.created_at:
        named.append(
            f"started {words.clean(run.created_at, 40).replace('T', ' ').replace('Z', ' UTC')}"
        )
    lines = [", ".join(named)]
    if run.models:
        models = (
            f"{words.clean(step, 40)} {words.clean(model, 80)}"
            for step, model in run.models.items()
        )
        lines.append(f"Models: {', '.join(models)}")
    return tuple(lines)


def sections(report: Report) -> Iterator[Section]:
    """The sections that have something to say, in reading order."""
    yield result(report)
    if report.paper:
        yield Section(FOR_PAPER, (report.paper,))
    if report.scores.distribution:
        yield distribution(report.scores.distribution)
    if report.groups is not None:
        yield by_group(report)
    if report.judge_check is not None:
        yield against_reference(report.judge_check, report.level)
    if report.calibration is not None:
        yield against_labels(report.calibration, report.level)
    if report.judges is not None:
        yield several_judges(report.judges)
    if report.steps:
        yield tokens_and_cost(report)
        yield time(report)
    if report.timeline is not None:
        yield pace(report.timeline)
    if any(status.kind != "ok" for status in report.statuses):
        yield failures(report)
