"""The monitor that stays with a container which may outlive the process that made it.

It is the native helper (``ocikit/_native/helper/monitor.c``): the parent of the container's first process. It writes
down how that ended (``exit.json``), keeps a log of what it wrote, serves those who attach to it, and ends it when its
owner is gone. Here is the other side: what a monitor is given, and what others hear of it.
"""
