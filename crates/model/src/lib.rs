//! The words of unswept: ids, times, samples, labels, verdicts, incidents, and the seams between layers.
