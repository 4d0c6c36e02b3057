//! The privileged child and its client: /proc, cgroups, discovery.
