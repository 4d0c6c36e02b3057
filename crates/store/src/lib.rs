//! Layer 2: series, evidence and incidents on disk.
