//! Layer 1: discovery, scrapes, and everything else fetched from a target.
