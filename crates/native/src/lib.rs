//! Memory outside the Go heap: mappings and their classes.
