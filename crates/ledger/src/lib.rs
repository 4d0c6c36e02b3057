//! The metric dictionary and the ledgers: series to typed channels.
