//! Channels in, verdict out.
