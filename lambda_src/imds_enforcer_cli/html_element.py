"""HTML that cannot be forgotten to be escaped: text becomes text, and only an element is an element."""

from html import escape


class Html(str):
    """Markup: what goes into a page as it is."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | None) -> Html:
    """An element around texts, which are escaped, and around other elements.

    Attributes are written as in `data_search` for `data-search` and `class_` for `class`; one that is None is left out.
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{named}>{joined(*content)}</{tag}>")


def joined(*content: str, by: str = "") -> Html:
    """Texts, which are escaped, and elements, one after the other."""
    return Html(by.join(each if isinstance(each, Html) else escape(each) for each in content))
