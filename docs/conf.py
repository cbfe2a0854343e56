"""How Sphinx builds the documentation; `script/docs` has it do so."""

import sys
from pathlib import Path

from storlever import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extension"))

project = "StorLever"
author = "The StorLever authors"
copyright = author  # noqa: A001  Sphinx's own name for it
version = release = __version__

extensions = ["myst_parser", "reference"]
exclude_patterns = ["_extension"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
suppress_warnings = ["misc.highlighting_failure"]  # bodies of requests with `…` in them

html_theme = "alabaster"
html_theme_options = {
    "description": "iSCSI targets of tgtd, managed over HTTP",
    "font_family": "sans-serif",
    "page_width": "1100px",
    "fixed_sidebar": True,
}
html_show_copyright = False
html_copy_source = False

man_pages = [
    ("cli", "storlever", "manage iSCSI targets of tgtd", author, 1),
    ("serve", "storlever-serve", "the service that manages iSCSI targets of tgtd", author, 8),
    ("troubleshooting", "storlever-troubleshooting", "what StorLever's errors mean", author, 7),
]
man_show_urls = True
