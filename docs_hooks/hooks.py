"""What mkdocs calls while it builds the site (`hooks` in mkdocs.yml).

The pages in docs/ are written for GitHub, and links lead to files of the repository. On the site, pages outside docs/ and
notebooks have pages of their own, other files show their text, and reference pages are made from the code. None of these is committed.
"""

from __future__ import annotations

from typing import Any

import site_links as links
import site_reference as reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings get the anchors that they have on GitHub."""
    config["mdx_configs"].setdefault("toc", {})["slugify"] = links.anchor_of
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    made = {**links.outside_pages(), **reference.pages()}
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Links lead to pages of the site; `\\|` in code in a table is one character, as on GitHub."""
    return links.for_site(markdown, page.file.src_uri)


def on_page_content(html: str, *, page: Page, **_: Any) -> str:
    """Drawings stand in the page itself, so that they have its colours."""
    return links.with_drawings(html, page.file.src_uri)
