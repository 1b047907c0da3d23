from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsql import DeclarationError
from embedsql.template import Template

TEXT = ("title", "section", "body")


def rendered(template: str, chunk: str, **values: str) -> str:
    before, after = Template.parse(template, TEXT).around(values)
    return before + chunk + after


def test_columns_stand_around_the_chunk_where_the_template_says() -> None:
    assert rendered("{title}: {chunk}", "text", title="T") == "T: text"
    assert rendered("{title} ({section})\n{chunk}\n", "text", title="T", section="S") == (
        "T (S)\ntext"
    )
    assert rendered("{chunk} in {title}", "text", title="T") == "text in T"


def test_a_missing_value_leaves_nothing() -> None:
    assert rendered("{title}\n{chunk}", "text") == "text"
    assert rendered("{title}: {chunk}", "text") == ": text"


def test_double_braces_mean_themselves() -> None:
    assert rendered("{{title}} {title} {chunk}", "text", title="T") == "{title} T text"


def test_named_columns_come_in_the_order_of_the_declaration() -> None:
    parsed = Template.parse("{section} {title} {chunk}", TEXT)

    assert parsed.columns == ("title", "section")
    assert parsed.words == "  "


def test_heading_is_the_markdown_path_unless_a_column_has_the_name() -> None:
    assert Template.parse("{heading}: {chunk}", ("body",)).takes_heading
    column = Template.parse("{heading}: {chunk}", ("heading", "body"))
    assert not column.takes_heading
    assert column.columns == ("heading",)


def test_a_column_called_chunk_is_cut() -> None:
    assert Template.parse("{title}: {chunk}", ("title", "chunk")).columns == ("title",)


@pytest.mark.parametrize("name", ["full name", "a.b", "a[0]", "Überschrift", "%s"])
def test_a_column_of_any_name_may_be_named(name: str) -> None:
    parsed = Template.parse(f"{{{name}}}: {{chunk}}", (name, "body"))

    assert parsed.around({name: "value"}) == ("value: ", "")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{title}", "must say {chunk} once"),
        ("", "must say {chunk} once"),
        ("{chunk} {chunk}", "must say {chunk} once"),
        ("{title} {title} {chunk}", "names {title} twice"),
        ("{author}: {chunk}", "no text column of the index; it may name: body, chunk, heading"),
        ("{title} {section} {body} {chunk}", "nothing is left to cut"),
        ("{title.__class__}: {chunk}", "no text column"),
        ("{title[0]}: {chunk}", "no text column"),
        ("{title!r}: {chunk}", "only a name"),
        ("{title:>10}: {chunk}", "only a name"),
        ("{}: {chunk}", "only a name"),
        ("{title: {chunk}", "literal brace twice"),
        ("title}: {chunk}", "literal brace twice"),
        ("{chunk", "literal brace twice"),
        ("{chunk}\0", "NUL"),
    ],
)
def test_a_template_that_cannot_be_is_refused(template: str, complaint: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Template.parse(template, TEXT)

    assert complaint in str(caught.value)


@given(template=st.text(st.sampled_from("{}!:.[] titlechunk\0"), max_size=24))
def test_any_template_is_read_or_refused(template: str) -> None:
    with contextlib.suppress(DeclarationError):
        parsed = Template.parse(template, TEXT)
        assert template.count("{chunk}") == 1
        assert set(parsed.columns) <= set(TEXT)


@given(value=st.text())
def test_values_are_never_read_as_templates(value: str) -> None:
    assert Template.parse("x {title}: {chunk}", TEXT).around({"title": value}) == (
        f"x {value}: ",
        "",
    )
