"""The documentation's site: `make docs`, then open site/index.html.

The sources' root is the repository, so that the same relative links work on the repository's web
view and on the site, and the committed results are pages without being copied.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.util import import_object

import recsim_envs

project = "recsim"
author = "The recsim developers"
release = recsim_envs.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "benchmarks/results/**.md"]
exclude_patterns = [".*", "build", "dist", "runs", "site", "wandb", "tests", "shared"]
html_theme = "furo"
html_title = f"recsim {release}"
html_extra_path = ["start"]  # index.html, which leads to docs/index.html
html_copy_source = False

myst_heading_anchors = 3
# Tables of results begin three levels down, and the changelog's page has one version.
suppress_warnings = ["myst.header"]

default_role = "code"  # `x` in a docstring is code
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False


class Environment(Directive):
    """Shows the docstring of an environment, which is Markdown, as Gymnasium's are.

    Its argument is the class. The page's own heading is the class's id.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parses the docstring in place of the directive."""
        docstring = inspect.getdoc(import_object(self.arguments[0]))
        assert docstring is not None
        place = nodes.Element()
        self.state.nested_parse(docstring.splitlines(), self.lineno, place, match_titles=True)
        return place.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("environment", Environment)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
