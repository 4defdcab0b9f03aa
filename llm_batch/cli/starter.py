"""The text of a first config for somebody's own data, in one of the common shapes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_batch.chain.overrides import command, expanded
from llm_batch.chain.templates import inserted
from llm_batch.cli.columns import NAMED_COLUMNS, Column, Roles, Table, named_like_a_task
from llm_batch.errors import ConfigError, DataError
from llm_batch.paper import words

_MOST_FIELDS = 12
#: Items of a first run: in minutes with a provider, in less than one with the embedded model.
_SIZE, _SIZE_HERE = 100, 24


def toml_text(text: str) -> str:
    """A text as TOML has it, on one line."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_lines(text: str) -> str:
    """A text of several lines as TOML has it, readable where that can be."""
    if "\n" not in text and not re.search(r'["\\]', text):
        return toml_text(text)
    if "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    return '"""\n' + "\n".join(toml_text(line)[1:-1] for line in text.split("\n")) + '"""'


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)


def insert(name: str, names: Sequence[str]) -> str:
    """How a prompt inserts a column, whatever it is called.

    Raises:
        DataError: It cannot, since a column called ``item`` stands in the way.
    """
    if name == "item":
        return "{{ item }}"
    text = inserted(name)
    if "item[" in text:
        if "item" in names:
            raise DataError(
                f"because one column is called 'item', prompts cannot use {words.named(name)}",
                "rename the column 'item'",
            )
        # Braces are written so that nothing that looks for them finds any within the name.
        quoted = repr(name).replace("{", "\\x7b").replace("}", "\\x7d")
        text = f"{{{{ item[{quoted}] }}}}"
    return text


def path_from(folder: Path, data: Path) -> str:
    """How a config in a folder names a file of data.

    Raises:
        ConfigError: It cannot: the name has a variable of the environment in it.
    """
    whole = os.path.abspath(data)
    try:
        near = Path(os.path.relpath(whole, os.path.abspath(folder))).as_posix()
    except ValueError:  # on another drive
        near = whole
    for written in (near, whole):
        if expanded(written) == str(Path(written)) and written.isprintable():
            return written
    raise ConfigError(
        f"{words.named(str(data))} has a name that a config cannot hold", "rename the file"
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the config of a table.

    Attributes:
        table: What was found.
        roles: Which column is what.
        model: Of the steps that answer.
        judge: Of the step that judges.
        why: Why these models, as a comment.
        output: Of the run.
        rule: What tells right answers from wrong ones in place of a judge, and why it can; empty
            for a judge.
        provided: Whether answers that are there are a step of their own.
    """

    table: Table
    roles: Roles
    model: str
    judge: str
    why: str
    output: str = "results.jsonl"
    rule: tuple[str, str] = ("", "")
    provided: bool = False

    @property
    def asks(self) -> bool:
        """Whether the texts of the column say by themselves what the model is to do."""
        column = self.table.column(self.roles.asked)
        says = column.is_conversation or column.is_picture or column.is_request
        return says or bool(named_like_a_task(column.name)) or column.asking > column.seen / 2

    def text(self, folder: Path, commands: Sequence[tuple[str, str]]) -> str:
        """The whole file, for a folder; ``commands`` with what they do stand on top."""
        steps = {
            "grade": self._grade,
            "compare": self._compare,
            "classify": self._classify,
            "extract": self._extract,
        }[self.roles.task]
        parts = [
            self._top(commands),
            self._data(folder),
            self._sample(),
            f"{_LIMITS}output = {toml_text(self.output)}\n",
            *steps(),
        ]
        return "\n".join(parts)

    def _top(self, commands: Sequence[tuple[str, str]]) -> str:
        width = max(len(command) for command, _ in commands)
        name = words.clean(self.table.path.name, 60)
        return "\n".join(
            [
                "#:schema llmb.schema.json",
                f"# {_TASK_WORDS[self.roles.task]}: {name}, {words.counted(self.table.rows, 'row')}"
                ". Ready to run:",
                *(f"#   {command:<{width}}   {what}" for command, what in commands),
                "# To see all other settings: llmb init example.toml",
                "",
            ]
        )

    def _data(self, folder: Path) -> str:
        table, roles = self.table, self.roles
        lines = ["[data]", f"path = {toml_text(path_from(folder, table.path))}"]
        if roles.id:
            lines.append(f"id = {toml_text(roles.id)}")
        else:
            lines.append(
                '# id = "…"                    # a column of unique values; else a hash is the id'
            )
        for name, value in table.settings:
            lines.append(f"{name} = {toml_text(value)}")
        if table.bad_rows:
            first = words.clean(table.bad_rows[0], 120)
            count = words.counted(len(table.bad_rows), "row")
            lines.append(f'on_bad_row = "skip"           # {count} cannot be read; {first}')
        shown = [words.clean(name, 40) for name in table.names[:NAMED_COLUMNS]]
        more = ", …" if len(table.names) > len(shown) else ""
        return "\n".join([*lines, f"# columns: {', '.join(shown)}{more}", ""])

    def _sample(self) -> str:
        here = self.model.startswith("local/") or self.judge.startswith("local/")
        size, rows = _SIZE_HERE if here else _SIZE, self.table.rows
        if rows <= size:
            why = f"# all {rows:,} rows"
        else:
            why = "# rows drawn at random; a larger size later pays only for new rows"
            why += "; 384 give ±5 points" if rows > 384 else ""
            why += f"; 0 = all {rows:,}"
        lines = ["[sample]", f"size = {0 if rows <= size else size:<22} {why}", "seed = 42"]
        if self.roles.category:
            field = toml_text(self.roles.category)
            lines.append(f"# stratify = {field}   # draw from each of its values in proportion")
        return "\n".join([*lines, ""])

    def _in(self, name: str) -> str:
        text = insert(name, self.table.names)
        return _within(text, -1) if self.table.column(name).is_request else text

    @property
    def _asked(self) -> str:
        """What the model is asked, as text."""
        column = self.table.column(self.roles.asked)
        return _PICTURES if column.is_picture else self._in(column.name)

    @property
    def _text(self) -> tuple[str, list[str]]:
        """What the model looks at, in a word, and the lines that put it into a prompt."""
        column = self.table.column(self.roles.asked)
        if column.is_picture:
            return "picture", []
        kind = "conversation" if column.is_conversation else "text"
        return kind, [f"{kind.capitalize()}: {self._in(column.name)}"]

    def _expression(self, name: str) -> str:
        return self._in(name)[2:-2].strip()

    def _free(self, *wanted: str) -> str:
        """A name for a step that no column has."""
        taken = {*self.table.names, "item"}
        return next(name for name in (*wanted, *(f"{wanted[0]}_{n}" for n in range(2, 999)))
                    if name not in taken)  # fmt: skip

    def _step(
        self,
        name: str,
        prompt: str,
        system: str = "",
        *,
        judges: bool = False,
        talks: bool = False,
        shows: bool = False,
        output: Sequence[str] = (),
        cap: int = 300,
        comment: str = "",
    ) -> str:
        """A step; it goes on with a conversation if it ``talks``, has pictures if it ``shows``."""
        from llm_batch.models.table import model_info

        model = self.judge if judges else self.model
        info = model_info(model)
        lines = [f"# {line}" for line in comment.splitlines()]
        lines += ["[[steps]]", f"name = {toml_text(name)}"]
        why = f"   # {self.why}" if self.why and model == self.model else ""
        lines.append(f"model = {toml_text(model)}{why}")
        if system:
            lines.append(f"system = {toml_text(system)}")
        if talks and self.table.column(self.roles.asked).is_conversation:
            lines.append(f"conversation = {toml_text(self.roles.asked)}   # its turns are sent")
        else:
            lines.append(f"prompt = {_toml_lines(prompt)}")
        if shows and self.roles.pictures:
            lines.append(f"images = [{toml_text(self._in(self.roles.pictures))}]")
        if info is not None and info.supports_reasoning:
            # What it thinks counts too, and many of these take no temperature.
            lines.append("max_tokens = 2000")
        else:
            lines += [f"max_tokens = {cap}", "temperature = 0.0"]
        if output:
            lines += ["[steps.output]                # the model must reply with these fields"]
            lines += output
        return "\n".join([*lines, ""])

    def _grade(self) -> Iterator[str]:
        roles, (rule, why) = self.roles, self.rule
        if roles.given and self.provided:
            step = self._free("generate", "model_answer")
            answer = f"{{{{ {step} }}}}"
            given = toml_text(roles.given[0])
            yield f"[[steps]]\nname = {toml_text(step)}\nprovided = {given}   # already answered\n"
        elif roles.given:
            answer = self._in(roles.given[0])
        else:
            step = self._free("generate", "model_answer")
            answer = f"{{{{ {step} }}}}"
            alone = (
                "" if self.asks else "The prompt is the column alone: add what the model is to do."
            )
            how = _HOW_TO_ANSWER[rule]
            column = self.table.column(roles.asked)
            if column.is_request:
                has_system = column.shapes == {("system", "user")}
                how = _within(insert(column.name, self.table.names), 0) if has_system else ""
            yield self._step(step, self._asked, how, talks=True, shows=True, comment=alone)
        if not rule:
            yield from self._graded(answer, "You grade answers.", "Question", "Given answer")
            return
        labels = self.table.column(roles.reference).labels
        judged = command("init", "--data", self.table.path, "--judge", "MODEL", "--force")
        option = {
            "choice": f"labels = [{', '.join(map(toml_text, labels))}]",
            "contains": 'normalise = ["case", "space", "punctuation"]',
        }.get(rule, "# tolerance = 0.01           # accept numbers this close to the right one")
        yield self._rule(
            rule,
            answer,
            option,
            f"The right answers {why}, so a rule compares them: {_COMPARES[rule]}.\n"
            f"No model is called. For a judge instead: {judged}",
            self._free("correct", "right"),
        )

    def _graded(self, answer: str, system: str, asked: str, given: str) -> Iterator[str]:
        """A judge from 1 to 5, against the reference where there is one."""
        roles, judge = self.roles, self._free("judge", "grader")
        lines = [f"{asked}: {self._asked}"]
        comment = ""
        if roles.reference:
            lines += [f"Reference answer: {self._in(roles.reference)}", f"{given}: {answer}"]
            lines.append(
                "Rate how well the given answer agrees with the reference answer, from 1 (wrong) "
                "to 5 (right)."
            )
        else:
            lines += [f"{given}: {answer}"]
            lines.append("Rate how right and complete this is, from 1 (wrong) to 5 (right).")
            comment = (
                "No column has the right answer, so the judge relies on its own knowledge.\n"
                "Check the judge by labelling some answers yourself: llmb label, then llmb report."
            )
        yield self._step(
            judge,
            "\n".join(lines),
            system,
            judges=True,
            shows=not roles.reference,
            output=['reason = "string"', 'score = { type = "integer", min = 1, max = 5 }'],
            comment=comment,
        )
        yield _score(f"{judge}.score", "4", "an item passes when its score is at least this")

    def _rule(self, rule: str, value: str, option: str, comment: str, name: str) -> str:
        """A rule against the reference, and the score that it gives."""
        return "\n".join(
            [
                *(f"# {line}" for line in comment.splitlines()),
                "[[steps]]",
                f"name = {toml_text(name)}",
                f"rule = {toml_text(rule)}",
                f"value = {toml_text(value)}",
                f"expected = {toml_text(self._in(self.roles.reference))}",
                *([option] if option else []),
                "",
                "[score]                       # the share that passes is the accuracy",
                f"field = {toml_text(name)}",
                "",
            ]
        )

    def _compare(self) -> Iterator[str]:
        roles, asked = self.roles, self._asked
        if roles.given:
            first, second = map(self._in, roles.given)
            about = f"A is the column {words.clean(roles.given[0], 40)}, B is "
            about += words.clean(roles.given[1], 40)
        else:
            names = (self._free("answer_a", "first"), self._free("answer_b", "second"))
            first, second = (f"{{{{ {name} }}}}" for name in names)
            about = f"A is the step {names[0]}, B is {names[1]}"
            yield self._step(
                names[0],
                asked,
                "Answer in one or two sentences.",
                talks=True,
                shows=True,
                comment="These two answers are compared. Change the model or prompt of either.",
            )
            second_way = "Think step by step, then answer in one sentence."
            yield self._step(names[1], asked, second_way, talks=True, shows=True)
        judge = self._free("judge", "grader")
        one, two = f'Answer "A": {first}', f'Answer "B": {second}'
        reference = [f"Reference answer: {self._in(roles.reference)}"] if roles.reference else []
        even = f"{self._expression(self.roles.asked)} | string | length is even"
        yield self._step(
            judge,
            "\n".join(
                [
                    f"Question: {asked}",
                    *reference,
                    f"{{% if {even} %}}{one}",
                    f"{two}{{% else %}}{two}",
                    f"{one}{{% endif %}}",
                    "Which answer is better?",
                ]
            ),
            "You compare two answers. Their order means nothing.",
            judges=True,
            output=[
                'reason = "string"',
                'better = { type = "string", choices = ["A", "B", "tie"] }',
            ],
            comment="Judges favour a position, so about half of the items show B first.",
        )
        yield "\n".join(
            [
                f"# {about}. The pass rate is how often B is better;",
                "# a mean score above 0.5 means B is better overall (a tie counts 0.5).",
                "[score]",
                f"field = {toml_text(f'{judge}.better')}",
                "labels = { A = 0, tie = 0.5, B = 1 }",
                "pass_at = 1",
                "",
            ]
        )

    def _classify(self) -> Iterator[str]:
        roles, step = self.roles, self._free("classify", "classified")
        kind, text = self._text
        labels = self.table.column(roles.reference).labels if roles.reference else []
        if labels:
            listed = ", ".join(map(toml_text, labels))
            output = f'label = {{ type = "string", choices = [{listed}] }}'
            comment = f"The labels come from the column {words.clean(roles.reference, 40)}."
        elif roles.reference:
            output, comment = 'label = "string"', "Your file has too many labels to list here."
        else:
            output = 'label = { type = "string", choices = ["positive", "negative", "other"] }'
            comment = "Write your own labels here: no column of your file has any."
        yield self._step(
            step,
            "\n".join([*text, f"Which label fits this {kind}?"]),
            f"You classify {kind}s.",
            shows=True,
            output=[output],
            cap=100,
            comment=comment,
        )
        if not roles.reference:
            yield (
                "# No column has the right labels, so there is no [score]. The results say how\n"
                "# often the model chose each label.\n"
            )
            return
        # Labels that differ in case alone are no two to choose from.
        apart = len({label.strip().casefold() for label in labels}) == len(labels) > 1
        yield self._rule(
            "choice" if apart else "equals",
            f"{{{{ {step}.label }}}}",
            f"labels = [{', '.join(map(toml_text, labels))}]"
            if apart
            else 'normalise = ["case", "space"]',
            "Compares the label with the right one, ignoring case. No model is called.",
            self._free("exact", "right"),
        )

    def _extract(self) -> Iterator[str]:
        roles, step = self.roles, self._free("extract", "extracted")
        kind, text = self._text
        wanted = [
            column
            for column in self.table.columns
            if column.name not in (roles.asked, roles.id, roles.pictures)
            and column.filled
            and not column.nested
        ][:_MOST_FIELDS]
        if wanted:
            fields = [f"{_key(column.name)} = {self._field(column)}" for column in wanted]
            comment = "The model looks for the values of your other columns."
            # What is called like a template is no template here.
            called = [re.sub(r"[{}]", "", words.clean(column.name, 60)) for column in wanted]
            known = [
                f"{name} = {self._in(column.name)}"
                for name, column in zip(called, wanted, strict=True)
            ]
            rule = "Rate how well these values agree with the right ones, from 1 (none) to 5 (all)."
        else:
            fields = [
                'topic = { type = "string", description = "in one to three words" }',
                'people = { type = "string", description = "their names, with commas" }',
                'date = { type = "string", description = "as YYYY-MM-DD; empty if there is none" }',
            ]
            comment = "Write your own fields here; types: string, integer, number, boolean."
            known = []
            rule = f"Rate how far the {kind} supports these values, from 1 (not) to 5 (all)."
        yield self._step(
            step,
            "\n".join([*text, f"Find the values of the fields in this {kind}."]),
            f"You extract facts from {kind}s. You add nothing.",
            shows=True,
            output=fields,
            comment=comment,
        )
        judge = self._free("judge", "grader")
        right = ["Right values:", *known] if known else []
        yield self._step(
            judge,
            "\n".join(
                [
                    *text,
                    *right,
                    f"Found values: {{{{ {step} }}}}",
                    rule,
                ]
            ),
            "You check extracted facts.",
            judges=True,
            shows=True,
            output=['reason = "string"', 'score = { type = "integer", min = 1, max = 5 }'],
        )
        yield _score(f"{judge}.score", "4", "an item passes when its score is at least this")

    def _field(self, column: Column) -> str:
        """What type the values of a column have."""
        if column.filled < self.table.rows:  # a number has no way to say that there is none
            return '{ type = "string", description = "empty if the text does not say" }'
        if column.values and {value.lower() for value in column.values} <= {"true", "false"}:
            return '"boolean"'
        if column.numbers == column.seen:
            return '"integer"' if column.whole == column.seen else '"number"'
        if column.labels and len(column.labels) <= _MOST_FIELDS:
            return f'{{ type = "string", choices = [{", ".join(map(toml_text, column.labels))}] }}'
        return '"string"'


def _within(body: str, place: int) -> str:
    """How a prompt inserts one of the messages of a request that ``body`` inserts."""
    return f"{{{{ {body[2:-2].strip()}.messages[{place}].content }}}}"


def _score(field: str, pass_at: str, why: str) -> str:
    return f"[score]\nfield = {toml_text(field)}\npass_at = {pass_at:<19} # {why}\n"


#: By the rule that looks at the answer; a judge reads anything.
_HOW_TO_ANSWER = {
    "": "Answer in one or two sentences.",
    "number": "Think in a few short steps. End with the number alone on the last line.",
    "contains": "Reply with the answer alone: a word, a name or a number. No sentence.",
    "choice": "Reply with the right option alone. No sentence.",
}
#: What is asked of pictures that no text goes with.
_PICTURES = "What does this picture show?"
_COMPARES = {
    "number": "the last number of the reply",
    "contains": "the reply must contain the right answer, ignoring case and punctuation",
    "choice": "the option that the reply names",
}
_TASK_WORDS = {
    "grade": "Grade answers",
    "compare": "Compare two answers",
    "classify": "Classify texts",
    "extract": "Extract facts from texts",
}
_LIMITS = """[limits]
workers = 5                   # calls at the same time
# budget = 5.00               # the most USD the whole run may cost; never exceeded

[run]
"""
