//! A query over any SeriesRead.
