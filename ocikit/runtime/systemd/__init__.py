"""Cgroups made and owned by systemd: a container's scope is a unit like any other.

``names`` says which unit, ``properties`` what systemd is told of its limits, ``bus`` talks to it, and ``units`` starts
and stops. On a host whose cgroups belong to systemd this is the way that does not surprise the other owner; everything
that systemd has no word for is written into the cgroup afterwards, which is delegated to us.
"""
