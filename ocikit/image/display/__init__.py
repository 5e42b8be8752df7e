"""How images and layouts show themselves, in a terminal and in notebooks.

* :mod:`~ocikit.image.display.history`: the layers of an image, with the line of the history that made each;
* :mod:`~ocikit.image.display.inspection`: what an image says of itself, and what a place holds;
* :mod:`~ocikit.image.display.layouts`: what was found in a layout, and what was removed from one.

Text and HTML are made in :mod:`ocikit._display`. Whatever an image says is hostile: it is escaped and cut. Pure, and
not loaded before something is shown.
"""
