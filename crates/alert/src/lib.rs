//! Layer 4: states and notifications.
