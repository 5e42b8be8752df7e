"""The OCI command line: words in, one call of the library, text and an exit code out.

An adapter, which knows nothing of containers: :mod:`~ocikit.runtime.cli.arguments` reads options as runc does,
:mod:`~ocikit.runtime.cli.verbs` is the table of what there is, and a module for each kind of verb makes the call. Only
the module of the verb at hand is loaded.
"""
