"""A configuration becomes a plan: a flat list of primitive steps. Data only; pure, and imports on any system.

``compiler`` is the way in; ``steps`` is what a plan is made of; every other module plans one part. Nothing in here
reads a file or makes a system call: what has to be known of the host is handed in.
"""
