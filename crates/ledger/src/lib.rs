//! The metric dictionary and the process ledger: raw figures to typed ones.
//!
//! In the order in which a reading walks through it:
//! 1. [`dictionary`]: a scrape's samples to [`model::GoMemory`], whatever names they came under, and
//!    [`cadvisor`] the same for containers;
//! 2. [`live`]: how much of the heap is live, and how we know;
//! 3. [`process`]: kernel's and Go's figures to one [`model::Ledger`] that adds up to RSS, with
//!    [`mapped`]: what a reading of mappings says of the rounds after it;
//! 4. [`container`]: the same for the container around it, which closes on the charged usage;
//! 5. [`settings`]: GOGC and GOMEMLIMIT in force, and from where that is known;
//! 6. [`load`]: what of a scrape says how much work the target does;
//! 7. [`stored`]: the names of the series that a store keeps of all this, and back from them to
//!    the judge's [`model::ChannelData`].
//!
//! Pure: no I/O, no clock; the same readings give the same figures. State is in [`LiveTracker`]
//! and [`LoadTracker`], one each a target, both bounded. It does not judge, and it does not parse:
//! samples come in as labels and numbers. Figures from outside that cannot be (negative, not
//! finite) count as absent.
#![forbid(unsafe_code)]

pub mod cadvisor;
pub mod container;
pub mod dictionary;
mod fuzz;
pub mod live;
pub mod load;
pub mod mapped;
pub mod process;
pub mod settings;
pub mod stored;

pub use cadvisor::{container_series, is_container_figure};
pub use container::container_ledger;
pub use dictionary::{RemoteProcess, go_memory, go_version, is_figure, remote_process};
pub use fuzz::fuzz_one;
pub use live::{Live, LiveSource, LiveTracker};
pub use load::{LoadKind, LoadRow, LoadTracker, LoadValue, is_load_like, may_be_load};
pub use mapped::{Mapped, Native, native};
pub use process::{Sides, process_ledger};
pub use settings::{Environment, frees_lazily, in_force};
pub use stored::{
    Chosen, Figure, Reading, channels, choose, reading_figures, reading_samples, risen_gauges,
};
