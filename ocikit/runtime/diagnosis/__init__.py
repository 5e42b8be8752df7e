"""What this host can and cannot do for containers, and what to do about it.

Each probe is a row in the table of its area, and looks at one thing: by having the static helper do it, in namespaces
that end with the helper, wherever that leaves nothing; else by reading what the kernel says.
"""
