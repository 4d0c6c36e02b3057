//! Layer 3: HTTP API and pages over the seams.
