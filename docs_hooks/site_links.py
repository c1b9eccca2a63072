"""From files of the repository to pages of the site: which file has which page, and links between them.

>>> page_of("ARCHITECTURE.md"), page_of("docs/serving.md"), page_of("examples/tour.ipynb")
('project/architecture.md', 'serving.md', 'notebooks/tour.md')
>>> anchor_of("`tasks`: data & more", "-")
'tasks-data--more'
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import site_notebooks as notebooks

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    **{f"{name}.md": f"project/{name.lower()}.md" for name in ("ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY")},
}
"""Pages at the root of the repository, and where they are on the site."""
FENCED = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()(?![a-z]+:)([^)\s#]*)(#[^)\s]*)?(\))")
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
"""Of texts of source files, which would come before the pages that explain them."""
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".sh": "sh"}


def anchor_of(heading: str, separator: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def page_of(file: str) -> str:
    """The page of a file of the repository, or the file's own place in docs/. Paths are relative, with slashes."""
    if file in OUTSIDE:
        return OUTSIDE[file]
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    if file.endswith(".ipynb"):
        return f"notebooks/{Path(file).stem}.md"
    return f"files/{file if file.endswith('.md') else file + '.md'}"


def file_of(page: str) -> str:
    """The file of the repository that a page was made from; the reverse of `page_of`."""
    outside = {made: file for file, made in OUTSIDE.items()}
    if page in outside:
        return outside[page]
    if page.startswith("files/"):
        path = page.removeprefix("files/")
        return path if (ROOT / path).exists() else path.removesuffix(".md")
    if page.startswith("notebooks/"):
        return f"examples/{Path(page).stem}.ipynb"
    return f"docs/{page}"


def prose(text: str) -> Iterator[tuple[bool, str]]:
    """The text in parts; true for what is not in a fence."""
    end = 0
    for found in FENCED.finditer(text):
        yield True, text[end : found.start()]
        yield False, found[0]
        end = found.end()
    yield True, text[end:]


def targets(file: str) -> set[str]:
    """The files of the repository that a page links to."""
    text = "".join(part for outside, part in prose((ROOT / file).read_text(encoding="utf-8")) if outside)
    folder = posixpath.dirname(file)
    return {posixpath.normpath(posixpath.join(folder, path)) for _, path, _, _ in LINK.findall(text) if path}


def outside_pages() -> dict[str, str]:
    """Pages for all files outside docs/ that pages link to, by their place on the site."""
    waiting = [*OUTSIDE, *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]
    waiting += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "examples").glob("*.ipynb"))]
    made: dict[str, str] = {}
    while waiting:
        file = waiting.pop()
        if page_of(file) in made:
            continue
        if not file.startswith("docs/"):
            made[page_of(file)] = page_text(file)
        if file.endswith(".md"):
            waiting += [one for one in targets(file) if not one.startswith("docs/") and (ROOT / one).exists()]
    return made


def page_text(file: str) -> str:
    """The page of a file outside docs/: a page of its own, a notebook, or the text of a file or of all files in a folder."""
    path = ROOT / file
    if file.endswith(".md"):
        return path.read_text(encoding="utf-8")
    if file.endswith(".ipynb"):
        return notebooks.page(path)
    shown = [path] if path.is_file() else [one for one in sorted(path.rglob("*")) if one.suffix in LANGUAGES]
    parts = [f"{UNSEARCHED}# {file}\n"]
    for one in shown:
        heading = f"## {one.relative_to(path)}\n\n" if path.is_dir() else ""
        text = one.read_text(encoding="utf-8").rstrip()
        parts.append(f"{heading}````{LANGUAGES.get(one.suffix, 'text')}\n{text}\n````\n")
    return "\n".join(parts)


def for_site(markdown: str, page: str) -> str:
    """Markdown of a page with links to pages of the site."""
    folder, here = posixpath.dirname(file_of(page)), posixpath.dirname(page)

    def moved(found: re.Match[str]) -> str:
        start, path, anchor, end = found.groups()
        if not path:
            return found[0]
        target = page_of(posixpath.normpath(posixpath.join(folder, path)))
        return f"{start}{posixpath.relpath(target, here or '.')}{anchor or ''}{end}"

    parts = (LINK.sub(moved, part) if outside else part for outside, part in prose(markdown))
    return re.sub(r"^\|.*$", lambda row: re.sub(r"`[^`]*`", _plain_pipes, row[0]), "".join(parts), flags=re.MULTILINE)


def _plain_pipes(code: re.Match[str]) -> str:
    return code[0].replace("\\|", "|")


def with_drawings(html: str, page: str) -> str:
    """A page with its SVG images in place, named by their text for those who do not see them."""

    def drawn(found: re.Match[str]) -> str:
        alt, source = (re.search(rf'{name}="([^"]*)"', found[0]) for name in ("alt", "src"))
        assert alt is not None
        assert source is not None
        # The page's address ends in a slash: a step up more than from its file.
        name = posixpath.basename(source[1])
        text = (ROOT / "docs" / "drawings" / name).read_text(encoding="utf-8")
        return re.sub(r"<svg ", f'<svg role="img" aria-label="{alt[1]}" class="drawing" ', text, count=1)

    return re.sub(r'<img [^>]*src="[^"]*drawings/[^"]+\.svg"[^>]*>', drawn, html)
