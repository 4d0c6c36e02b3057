//! All outgoing HTTP: timeouts, size caps, redirects, TLS.
