"""Converts the Markdown of the manual pages to roff, for man(1): `page(text, title=…)`.

The parser is markdown-it-py. What it yields is written in the few macros that groff and mandoc share; lists whose items
begin with code and a line break become tagged paragraphs (options, columns), and tables go through tbl(1).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

WIDTH = 78  # columns of a source line; mandoc's lint wants at most 80 bytes
_PAGE = re.compile(r"(?:^|/)(affcli[\w-]*)\.(\d)\.md$")
_CHARACTERS = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}


def page(text: str, header: str) -> str:
    """The page in roff. `header` is its .TH line; the first heading of the Markdown is left out."""
    root = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(text))
    lines = list(_blocks([node for node in root.children if not (node.type == "heading" and node.tag == "h1")]))
    tables = ["'\\\" t"] if ".TS" in lines else []
    return "\n".join([*tables, header, *lines]) + "\n"


def _blocks(nodes: Sequence[SyntaxTreeNode]) -> Iterator[str]:
    """The lines of blocks, with a .PP between two that follow each other and need one."""
    separate = False
    for node in nodes:
        if node.type == "html_block":
            continue
        if node.type == "heading":
            yield f"{'.SH' if node.tag == 'h2' else '.SS'} {_quoted(node)}"
        else:
            if separate and node.type != "bullet_list":
                yield ".PP"
            yield from _block(node)
        separate = node.type != "heading"


def _block(node: SyntaxTreeNode) -> Iterator[str]:
    if node.type == "paragraph":
        yield from _filled(_inline(node.children[0]))
    elif node.type in ("fence", "code_block"):
        yield from (".nf", ".RS 4", *map(_code_line, node.content.rstrip("\n").split("\n")), ".RE", ".fi")
    elif node.type in ("bullet_list", "ordered_list"):
        yield from _list(node)
    elif node.type == "table":
        yield from _table(node)
    else:
        raise ValueError(f"Markdown that the manual does not use: {node.type}")


def _list(node: SyntaxTreeNode) -> Iterator[str]:
    for number, item in enumerate(node.children, start=1):
        first, *rest = item.children
        tag, body = _tagged(first.children[0])
        if tag:
            yield from (".TP", f".B {tag}")
        else:
            yield f'.IP "{number}." 4' if node.type == "ordered_list" else ".IP \\(bu 2"
        yield from _filled(body)
        for block in rest:
            yield ".IP" if block.type == "paragraph" else ".RS"
            yield from _block(block)
            if block.type != "paragraph":
                yield ".RE"


def _tagged(inline: SyntaxTreeNode) -> tuple[str, str]:
    """The code before a line break, and the text after it: `- `-o, --output FILE`\\` and its description."""
    children = inline.children
    if len(children) > 1 and children[0].type == "code_inline" and children[1].type == "hardbreak":
        return _escaped(children[0].content), "".join(map(_piece, children[2:]))
    return "", _inline(inline)


def _table(node: SyntaxTreeNode) -> Iterator[str]:
    head, *body = [list(part.children) for part in node.children]
    rows = [[_inline(cell.children[0]) for cell in row.children] for row in [*head, *(r for rs in body for r in rs)]]
    plain = [[re.sub(r"\\f.|\\&", "", cell).replace("\\", "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    # A table that is too wide for a terminal: its last column is filled.
    room = WIDTH - 10 - sum(widths[:-1]) - 3 * len(widths)
    formats = ["l"] * len(widths)
    if widths[-1] > room:
        formats[-1] = f"lw({max(20, room)}n)"
    bold = ["lb", *["lb"] * (len(widths) - 1)]
    yield from (".TS", "tab(|);", " ".join(bold), " ".join(formats) + ".")
    for row in rows:
        *cells, last = (cell.replace("|", "\\(ba") for cell in row)
        if widths[-1] > room:
            yield "|".join([*cells, "T{"])
            yield from _filled(last)
            yield "T}"
        else:
            yield "|".join([*cells, last])
    yield ".TE"


def _quoted(node: SyntaxTreeNode) -> str:
    text = _inline(node.children[0])
    text = re.sub(r"(\\\(..|\\f.|\\.)|(\w)", lambda m: m[1] or m[2].upper(), text) if node.tag == "h2" else text
    return f'"{text}"' if " " in text else text


def _inline(node: SyntaxTreeNode) -> str:
    return "".join(map(_piece, node.children))


def _piece(node: SyntaxTreeNode) -> str:
    if node.type == "text":
        return _escaped(node.content)
    if node.type == "code_inline":
        return f"\\fB{_escaped(node.content)}\\fP"
    if node.type in ("em", "strong"):
        return f"\\f{'I' if node.type == 'em' else 'B'}{_inline(node)}\\fP"
    if node.type in ("softbreak", "hardbreak"):
        return " "
    if node.type == "link":
        return _link(node)
    if node.type in ("image", "html_inline"):
        return ""
    raise ValueError(f"Markdown that the manual does not use: {node.type}")


def _link(node: SyntaxTreeNode) -> str:
    target = str(node.attrs["href"])
    if found := _PAGE.search(target):
        return f"\\fB{_escaped(found[1])}\\fP({found[2]})"
    return f"{_inline(node)} <{_escaped(target)}>" if "://" in target else _inline(node)


def _escaped(text: str) -> str:
    return "".join(_CHARACTERS.get(character, character) for character in text)


def _code_line(line: str) -> str:
    return _harmless(_escaped(line))


def _filled(text: str) -> Iterator[str]:
    """Lines that are short enough; a new sentence begins a new line, so that roff sets the space between them."""
    for sentence in re.split(r"(?<=[a-z\d)%P][.:?!]) (?=[A-Z\\])", text):
        # Bytes count, and so do escapes: textwrap counts characters, which is close enough below 80.
        yield from map(_harmless, textwrap.wrap(sentence, WIDTH - 8, break_long_words=False, break_on_hyphens=False))


def _harmless(line: str) -> str:
    """A line that begins with a dot or an apostrophe would be a request."""
    return "\\&" + line if line.startswith((".", "'")) else line


def sections(text: str) -> dict[str, str]:
    """Heading of the second level → the Markdown below it."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return {name.strip(): body.strip("\n") for name, body in zip(parts[::2], parts[1::2], strict=True)}


def fences(text: str) -> Iterator[tuple[str, str, str]]:
    """(language, code, comment) of each fenced block; the comment is that of an HTML comment right before it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "fence":
            comment = before.content if before is not None and before.type == "html_block" else ""
            yield token.info.strip(), token.content, comment.strip().removeprefix("<!--").removesuffix("-->").strip()
