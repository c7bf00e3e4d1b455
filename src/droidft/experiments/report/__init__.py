"""An experiment as a page, as Markdown and as figures."""
