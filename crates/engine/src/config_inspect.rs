//! `inspect:` of the configuration: whether leaking processes are looked into, and at what cost.

use std::time::Duration;

use model::duration::duration;
use model::size::size;
use reader::HoldersBudget;
use serde::Deserialize;

/// The least memory that a look can do anything with, and the most that is a number and no slip.
const MEMORY_MIN: u64 = 64 << 20;
const MEMORY_MAX: u64 = 1 << 40;

/// Looking into processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inspect {
    /// Whether it is done.
    pub enabled: InspectEnabled,
    /// What one look may cost us.
    pub budget: InspectBudget,
}

/// Whether leaking processes are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InspectEnabled {
    /// When a leak of the Go heap or of goroutines is found, and there is memory for it.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What one look may cost us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InspectBudget {
    /// From its start to its end.
    #[serde(deserialize_with = "duration")]
    pub time: Duration,
    /// Processor time.
    #[serde(deserialize_with = "duration")]
    pub cpu: Duration,
    /// Memory, in bytes.
    #[serde(deserialize_with = "size")]
    pub memory: u64,
}

impl Default for InspectBudget {
    fn default() -> Self {
        let HoldersBudget {
            time,
            cpu,
            memory_bytes,
            ..
        } = HoldersBudget::default();
        Self {
            time,
            cpu,
            memory: memory_bytes,
        }
    }
}

impl Inspect {
    /// What one look may cost; `None` when there are to be none.
    #[must_use]
    pub fn budget(&self) -> Option<HoldersBudget> {
        let InspectBudget { time, cpu, memory } = self.budget;
        let budget = HoldersBudget::new(time, cpu, memory);
        (self.enabled == InspectEnabled::Auto).then_some(budget)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let spans = [
            ("inspect.budget.time", self.budget.time),
            ("inspect.budget.cpu", self.budget.cpu),
        ];
        for (name, span) in spans {
            if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&span) {
                return Err(format!("{name} must be 1s to 10m, it is {span:?}"));
            }
        }
        if !(MEMORY_MIN..=MEMORY_MAX).contains(&self.budget.memory) {
            let bytes = self.budget.memory;
            return Err(format!(
                "inspect.budget.memory must be 64MiB to 1TiB, it is {bytes} bytes"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_of_a_file_is_checked_and_off_is_off() {
        let parse = |text: &str| -> Result<Inspect, String> {
            let inspect: Inspect =
                serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
            inspect.check().map(|()| inspect)
        };
        assert_eq!(
            parse("{}").unwrap().budget(),
            Some(HoldersBudget::default())
        );
        assert_eq!(parse("enabled: off").unwrap().budget(), None);
        let own = parse("budget: {time: 5s, cpu: 4s, memory: 128MiB}").unwrap();
        let want = HoldersBudget::new(Duration::from_secs(5), Duration::from_secs(4), 128 << 20);
        assert_eq!(own.budget(), Some(want));
        let rows = [
            ("enabled: always", "always"),
            ("budget: {memory: 1MiB}", "64MiB to 1TiB"),
            ("budget: {memory: much}", "`much`"),
            ("budget: {time: 0s}", "inspect.budget.time must be 1s"),
            ("budget: {cpu: 1h}", "inspect.budget.cpu must be 1s"),
            ("budget: {disk: 1h}", "disk"),
        ];
        for (text, want) in rows {
            let error = parse(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
