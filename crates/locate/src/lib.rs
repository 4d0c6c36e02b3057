//! Layer 5: plans what evidence to take, and reads suspects out of it.
