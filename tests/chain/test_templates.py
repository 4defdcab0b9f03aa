"""Templates: data is text, nothing gets out of the sandbox, and the same context gives one text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain.templates import PromptError, Template
from llm_batch.errors import ConfigError

CONTEXT: dict[str, Any] = {
    "question": "What?",
    "n": 3,
    "nothing": None,
    "tags": ["a", "é"],
    "odd": {"name": "Ada"},
    "meta": {"items": 7, "author": {"name": "Ada"}, "on": date(2026, 1, 2)},
}


def rendered(source: str, context: Mapping[str, Any] = CONTEXT) -> str:
    return Template(source, "steps.a.prompt").render(context)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ question }}", "What?"),
        ("{{ nothing }}", ""),
        ("{{ n + 1 }} {{ 2.50 }} {{ true }}", "4 2.5 True"),
        ("{{ tags }}", '["a", "é"]'),
        ("{{ meta.author }}", '{"name": "Ada"}'),
        ("{{ meta }}", '{"items": 7, "author": {"name": "Ada"}, "on": "2026-01-02"}'),
        ("{{ meta.author.name }} {{ meta['author']['name'] }}", "Ada Ada"),
        ("{{ meta.items }}", "7"),
        (
            "{% for key, value in meta.author.items() %}{{ key }}={{ value }}{% endfor %}",
            "name=Ada",
        ),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{{ meta.on }}", "2026-01-02"),
        ("{{ missing | default('none') }}", "none"),
        ("{% if missing is defined %}x{% endif %}", ""),
        ("{{ tags | map('upper') | list }}", '["A", "É"]'),
        ("a\n", "a\n"),
        ("<b>&", "<b>&"),
    ],
)
def test_values_read_as_a_person_would_write_them(source: str, text: str) -> None:
    assert rendered(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ question | attr('__class__') }}",
        "{{ '{0.__class__}'.format(question) }}",
        "{{ question.format.__self__.__class__ }}",
        "{{ namespace }}",
        "{{ tags.append(1) }}",
        "{{ meta.update({'a': 1}) }}",
        "{{ range(10 ** 9) | list }}",
    ],
)
def test_a_template_cannot_get_out_of_the_sandbox(source: str) -> None:
    with pytest.raises(PromptError, match=r"^steps\.a\.prompt: "):
        rendered(source)


@pytest.mark.parametrize(
    "data",
    ["{{ 7*7 }}", "{% raw %}", "{% endfor %}", "{# no #}", "{{ ''.__class__ }}", "# for x in y"],
)
def test_data_is_text_and_never_a_template(data: str) -> None:
    assert rendered("<{{ question }}>", {"question": data}) == f"<{data}>"
    assert rendered("{{ tags[0] }}", {"tags": [data]}) == data


@pytest.mark.parametrize(
    "source",
    [
        "{{ question }}",
        "Q: {{question}}\n{%raw%}{{ raw }}{%endraw%}\n\n{{- n -}} \n{# a note #}{{ nothing }}.\n",
        "{{ item }} {{ item.question }} {{ item['tags'] }} {{ meta.items }} {{ meta['author'] }}",
        "{{ meta.keys }}{{ meta.__class__ }}",
        "{{ missing }}",
        "{{ item.missing }}",
        "{{ tags.0 }}{{ tags['x'] }}",
        "{{ question.upper }}",
        "{{ range }}",
        "{{ self }} {{ none }} {{ loop }}",
        "{{ odd_value }}",
    ],
)
def test_a_template_that_only_inserts_fields_gives_what_jinja_gives(source: str) -> None:
    context = CONTEXT | {"none": "field", "self": "field", "loop": "field", "odd_value": object}

    def outcome(template: Template) -> str:
        try:
            return template.render({"item": context, **context})
        except PromptError as error:
            return f"PromptError: {error}"

    by_jinja = Template(source, "steps.a.prompt")
    by_jinja._parts = None
    assert outcome(Template(source, "steps.a.prompt")) == outcome(by_jinja)


@given(st.text())
def test_any_text_arrives_as_it_is(data: str) -> None:
    assert rendered("{{ question }}", {"question": data}) == data


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ answr }}", "'answr' is undefined"),
        ("{{ meta.titel }}", "'dict object' has no attribute 'titel'"),
        ("{{ question.upper }}", "a builtin_function_or_method has no text; add () to call"),
        ("{{ tags | map('upper') }}", "a generator has no text"),
        ("{{ 1 / (n - 3) }}", "division by zero"),
        ("{{ question | dictsort }}", "'str' object has no attribute 'items'"),
        ("{{ n | length }}", "object of type 'int' has no len()"),
        ("{{ ''.__class__ }}", "not allowed: access to attribute '__class__'"),
    ],
)
def test_what_fails_for_one_item_says_where_and_why(source: str, says: str) -> None:
    with pytest.raises(PromptError) as raised:
        rendered(source)
    assert str(raised.value).startswith("steps.a.prompt: ")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ question", "steps.a.prompt is not a valid template (its line 1)"),
        ("one\n{% if %}", "(its line 2)"),
        ("{{ question | nofilter }}", "No filter named 'nofilter'"),
        ("{% include 'other.txt' %}", "steps.a.prompt includes, imports or extends"),
        ("{% extends 'other.txt' %}", "includes, imports or extends"),
        ("{% import 'x' as y %}", "includes, imports or extends"),
    ],
)
def test_a_template_that_can_never_work_is_refused_at_once(source: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Template(source, "steps.a.prompt")
    assert says in raised.value.message
    assert raised.value.hint


def test_nothing_random_is_at_hand_since_paid_answers_are_found_by_the_prompt() -> None:
    with pytest.raises(ConfigError, match="random"):
        Template("{{ tags | random }}", "steps.a.prompt")
    with pytest.raises(PromptError, match="lipsum"):
        rendered("{{ lipsum() }}")


def test_the_names_a_template_looks_up_are_known() -> None:
    source = "{% set a = 1 %}{% for x in tags %}{{ x }}{{ a }}{{ range(2) }}{% endfor %}{{ b.c }}"
    assert Template(source, "").variables == {"tags", "b"}


def test_numbers_from_a_table_keep_their_digits() -> None:
    assert rendered("{{ price }}", {"price": Decimal("1.10")}) == "1.10"
