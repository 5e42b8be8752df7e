"""How things show themselves: as tables for a terminal, and as HTML for notebooks.

* :mod:`~ocikit._display.text` makes text harmless, and tables of it;
* :mod:`~ocikit._display.html` makes HTML: the only place where it is put together.

What is shown of what, each room says itself. Whatever comes from an image or a container is hostile: it is escaped and
cut here. Nothing in here is loaded before something is shown, and nothing here knows images or containers.
"""
