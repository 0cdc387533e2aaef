"""Settings of Sphinx for the book: nothing is executed, and nothing is fetched from another host."""

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

project = "Fine-tune a GPT"
html_title = "Fine-tune a GPT"
root_doc = "index"
language = "en"
extensions = ["myst_nb"]

nb_execution_mode = "off"  # the outputs that are stored in the notebooks are shown
nb_merge_streams = True
nb_ipywidgets_js = {}  # the lessons store no widgets, so the scripts that would draw them are not needed
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_space = False  # so that two prices in one sentence are not taken for a formula
myst_dmath_allow_digits = False
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_search_summary = False  # a page that is opened from a disk may not read other pages, only the index
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False


def write_mathml(self, node):
    """Write a formula as MathML, which browsers draw by themselves; MathJax would come from another host."""
    mathml = tex2mathml(node.astext(), as_block=node.tagname == "math_block")
    self.body.append(mathml.replace("&ApplyFunction;</mo>", '&ApplyFunction;</mo><mspace width="0.17em"/>'))  # ln 8
    raise SkipNode  # or the formula's source would follow


def setup(app):
    """Make MathML the way to write formulas."""
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))


html_math_renderer = "mathml"
