//! `budget:` of the configuration: what watching may cost the machine.

use std::time::Duration;

use model::duration::duration;
use model::size::size_or_auto;
use serde::{Deserialize, Deserializer, de::Error};

use crate::config::Global;

/// What is meant to be watched at the usual cost: 20 services and a big one.
const TARGETS_USUAL: usize = 20;
/// Percent of a core for that at the usual period, and for each target more.
const CPU_PERCENT: f64 = 1.0;
const CPU_PERCENT_EACH: f64 = 0.05;
const PERIOD_USUAL: Duration = Duration::from_secs(15);
/// Memory for that, and for each target more.
const MEMORY: u64 = 64 << 20;
const MEMORY_EACH: u64 = 1 << 20;
/// Less memory than this no watcher gets along with, and more is a slip.
const MEMORY_RANGE: std::ops::RangeInclusive<u64> = (8 << 20)..=(1 << 40);

/// What watching may cost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Percent of one core, on average over the window; `None` for what the number of targets and the
    /// period ask for.
    #[serde(deserialize_with = "percent")]
    pub cpu: Option<f64>,
    /// Memory in bytes; `None` for what the number of targets asks for.
    #[serde(deserialize_with = "size_or_auto")]
    pub memory: Option<u64>,
    /// Over which time CPU is averaged, and how long it takes to go back to more.
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            cpu: None,
            memory: None,
            window: Duration::from_secs(300),
        }
    }
}

impl Budget {
    /// Cores that watching so many targets may take. Who asks for a shorter period than the usual one
    /// has asked for what that costs.
    #[must_use]
    pub fn cpu_cores(&self, targets: usize, global: &Global) -> f64 {
        let more = targets.saturating_sub(TARGETS_USUAL) as f64;
        let period = global.scrape_interval.min(global.evaluation_interval);
        let often = (PERIOD_USUAL.as_secs_f64() / period.as_secs_f64().max(1.0)).max(1.0);
        let usual = (CPU_PERCENT + CPU_PERCENT_EACH * more) * often;
        self.cpu.unwrap_or(usual) / 100.0
    }

    /// Memory that watching so many targets may take, in bytes.
    #[must_use]
    pub fn memory_bytes(&self, targets: usize) -> u64 {
        let more = targets.saturating_sub(TARGETS_USUAL) as u64;
        self.memory.unwrap_or(MEMORY + MEMORY_EACH * more)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(percent) = self
            .cpu
            .filter(|percent| !(0.01..=10_000.0).contains(percent))
        {
            return Err(format!(
                "budget.cpu must be 0.01% to 10000% of a core, it is {percent}%"
            ));
        }
        if let Some(bytes) = self.memory.filter(|bytes| !MEMORY_RANGE.contains(bytes)) {
            return Err(format!(
                "budget.memory must be 8MiB to 1TiB, it is {bytes} bytes"
            ));
        }
        if !(Duration::from_secs(5)..=Duration::from_secs(3_600)).contains(&self.window) {
            return Err(format!(
                "budget.window must be 5s to 1h, it is {:?}",
                self.window
            ));
        }
        Ok(())
    }
}

/// `2%`, or `auto`.
fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let number = text.strip_suffix('%').map(|number| number.trim().parse());
    match number {
        _ if text == "auto" => Ok(None),
        Some(Ok(percent)) if f64::is_finite(percent) => Ok(Some(percent)),
        _ => Err(D::Error::custom(format!(
            "expected percent of a core such as 2%, or auto, found `{text}`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Config;

    #[test]
    fn it_grows_with_what_is_asked_for() {
        let (budget, usual) = (Budget::default(), Global::default());
        let percent = |targets, global: &Global| 100.0 * budget.cpu_cores(targets, global);
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got} {want}");
        near(percent(0, &usual), 1.0);
        near(percent(20, &usual), 1.0);
        near(percent(120, &usual), 6.0);
        let often = Global {
            scrape_interval: Duration::from_secs(1),
            ..usual.clone()
        };
        near(percent(20, &often), 15.0);
        let seldom = Global {
            scrape_interval: Duration::from_secs(60),
            evaluation_interval: Duration::from_secs(60),
            ..usual.clone()
        };
        near(percent(20, &seldom), 1.0);
        assert_eq!(budget.memory_bytes(20), 64 << 20);
        assert_eq!(budget.memory_bytes(100), 144 << 20);
        let told = Budget {
            cpu: Some(0.5),
            memory: Some(10 << 20),
            ..budget
        };
        near(100.0 * told.cpu_cores(500, &often), 0.5);
        assert_eq!(told.memory_bytes(500), 10 << 20);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parse = |text: &str| {
            let config = Config::parse(Path::new("unswept.yml"), &format!("budget: {{{text}}}"));
            config
                .map(|config| config.budget)
                .map_err(|e| e.to_string())
        };
        let told = parse("cpu: 2.5%, memory: 80MiB, window: 1m").unwrap();
        assert_eq!((told.cpu, told.memory), (Some(2.5), Some(80 << 20)));
        assert_eq!(parse("cpu: auto, memory: auto"), Ok(Budget::default()));
        for (text, said) in [
            ("cpu: 2", "2%, or auto"),
            ("cpu: NaN%", "2%, or auto"),
            ("cpu: 0%", "0.01% to"),
            ("memory: 1KiB", "8MiB to"),
            ("memory: much", "found `much`"),
            ("window: 1s", "5s to 1h"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
