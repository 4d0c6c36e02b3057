//! Bytes to samples and back: Prometheus exposition text, OpenMetrics, expvar.
