"""How Sphinx builds this site; `make docs` runs it, by `docs/tools/build_site.py`, once for each language."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "tools")]

from smspilot_async import __version__  # noqa: E402 - found by the line above

project = "smspilot_async"
version = release = __version__
copyright = "the smspilot_async developers"  # noqa: A001 - Sphinx reads this name
html_title = project

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "page_syntax",
    "reference_names",
    "page_languages",
    "accessible_html",
]
exclude_patterns = ["locales", "theme", "tools"]
nitpicky = True
show_warning_types = True

# --- pages ---------------------------------------------------------------------------------------
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4
highlight_language = "text"

# --- the reference -------------------------------------------------------------------------------
add_module_names = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = True
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# --- languages -----------------------------------------------------------------------------------
language = "en"
locale_dirs = ["locales"]
gettext_compact = False
gettext_location = False  # a page's line numbers would change its catalogue with every edit
gettext_uuid = False
figure_language_filename = "{root}.{language}{ext}"  # where there is such a picture

# --- how it looks --------------------------------------------------------------------------------
html_theme = "furo"
pygments_dark_style = "a11y-dark"
html_static_path = ["theme/static"]
templates_path = ["theme/templates"]
html_css_files = ["style.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_logo = html_favicon = "images/logo.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0f766e", "color-brand-content": "#0b6b63"},
    "dark_css_variables": {"color-brand-primary": "#4fb8a9", "color-brand-content": "#5cc4b5"},
}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
        "sidebar/site.html",
    ]
}
html_copy_source = False
html_show_sphinx = False
html_domain_indices = False
