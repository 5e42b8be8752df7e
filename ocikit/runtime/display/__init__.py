"""How containers show themselves: tables for a terminal, and HTML for notebooks.

* :mod:`~ocikit.runtime.display.text` makes text harmless, and tables of it;
* :mod:`~ocikit.runtime.display.html` makes HTML: the only place where it is put together;
* :mod:`~ocikit.runtime.display.plot` draws lines over time, as SVG;
* :mod:`~ocikit.runtime.display.containers`, :mod:`~ocikit.runtime.display.states` and
  :mod:`~ocikit.runtime.display.numbers` say what is shown of what.

Whatever comes from a container is hostile: names, annotations and arguments are escaped and cut. Nothing in here is
loaded before something is shown.
"""
