//! What can be asked on the command line, and the help that teaches it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Tells a memory leak from growth in Go services, keeps the evidence, and names what holds the
/// memory.
#[derive(Debug, Parser)]
#[command(name = "unswept", version, max_term_width = 100)]
#[command(after_help = "Without a command it watches: the same as `unswept watch`.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch every Go process of this host, judge it, and serve the page (the default)
    #[command(visible_alias = "run")]
    Watch(Watch),
}

/// Every Go process of the host is found by itself; services elsewhere come from `scrape_configs`
/// in the configuration, written as Prometheus has them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watch {
    /// Configuration file (YAML); without one, every Go process on this host is watched
    #[arg(long, value_name = "FILE", env = "UNSWEPT_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Where the page and the API answer
    #[arg(long, value_name = "ADDR:PORT", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: SocketAddr,

    /// Where series, incidents and evidence are kept [default: the user's state directory]
    #[arg(long, value_name = "DIR", env = "UNSWEPT_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// Serve the page to other machines although it has no authentication yet
    #[arg(long)]
    pub(crate) insecure_listen: bool,

    /// Print plain lines instead of the live screen, also on a terminal
    #[arg(long)]
    pub(crate) plain: bool,
}

pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7787";

impl Default for Watch {
    fn default() -> Self {
        Self {
            config: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 7787)),
            data: None,
            insecure_listen: false,
            plain: false,
        }
    }
}
