//! pprof profiles: read, aggregate, diff, render.
