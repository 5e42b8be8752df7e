"""How containers show themselves, in a terminal and in notebooks.

* :mod:`~ocikit.runtime.display.plot` draws lines over time, as SVG;
* :mod:`~ocikit.runtime.display.containers`, :mod:`~ocikit.runtime.display.states` and
  :mod:`~ocikit.runtime.display.numbers` say what is shown of what.

Text and HTML are made in :mod:`ocikit._display`. Whatever comes from a container is hostile: names, annotations and
arguments are escaped and cut. Nothing in here is loaded before something is shown.
"""
