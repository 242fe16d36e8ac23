"""Knows Linux: namespaces, mounts, cgroups, seccomp, processes. Does not know Lambda."""
