//! What we cost ourselves, held to a budget: above it optional work is left for later in a stated order,
//! and taken up again by itself. Pure: measures come in, steps come out.

pub(crate) mod usage;

use std::collections::VecDeque;
use std::time::Duration;

use model::Refusal;

/// A step back is taken once so much less than the budget is used, so that it is not retaken at once.
const CPU_CALM: f64 = 0.7;
const MEMORY_CALM: f64 = 0.9;
/// Above this part of the budget the first, second and third step for memory is taken.
const MEMORY_STEPS: [f64; 3] = [1.0, 1.25, 1.5];
/// Memory must stay above or below for this part of the window: a profile that is being read is no state.
const MEMORY_PATIENCE: u32 = 5;

/// What is left for later, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Mappings are read ten times more seldom.
    Mappings,
    /// Light snapshots are taken six times more seldom.
    Ring,
    /// No new ports are asked for an endpoint.
    Probes,
    /// Targets that are calm are read at every fourth period.
    CalmTargets,
    /// Caches are emptied.
    Caches,
    /// Light snapshots are not taken.
    Snapshots,
    /// Profiles for incidents are put off.
    Captures,
}

impl Step {
    const FOR_CPU: [Self; 4] = [Self::Mappings, Self::Ring, Self::Probes, Self::CalmTargets];
    const FOR_MEMORY: [Self; 3] = [Self::Caches, Self::Snapshots, Self::Captures];

    /// All of them, those for CPU first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::FOR_CPU.into_iter().chain(Self::FOR_MEMORY)
    }

    pub(crate) fn is_for_memory(self) -> bool {
        Self::FOR_MEMORY.contains(&self)
    }

    /// The word in `/metrics`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mappings => "mappings",
            Self::Ring => "ring",
            Self::Probes => "probes",
            Self::CalmTargets => "calm-targets",
            Self::Caches => "caches",
            Self::Snapshots => "snapshots",
            Self::Captures => "captures",
        }
    }

    /// What it means, for people.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Mappings => "mappings (smaps) are read ten times more seldom",
            Self::Ring => "light snapshots are taken six times more seldom",
            Self::Probes => "no further ports are asked for metrics and profiles",
            Self::CalmTargets => "targets without a finding are read at every fourth period",
            Self::Caches => "caches are emptied, and nothing new is kept in them",
            Self::Snapshots => "no light snapshots are taken",
            Self::Captures => "profiles for incidents are put off",
        }
    }
}

/// What was measured: all CPU time since the start, and the memory of the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) at: Duration,
    pub(crate) cpu: Duration,
    pub(crate) memory_bytes: u64,
}

/// What may be used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowed {
    pub(crate) cpu_cores: f64,
    pub(crate) memory_bytes: u64,
    pub(crate) window: Duration,
}

/// How a target's driver takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Mappings are read so many times more seldom.
    pub(crate) mappings: u32,
    /// So are light snapshots.
    pub(crate) ring: u32,
    /// Ports may be asked.
    pub(crate) probes: bool,
    /// One of so many rounds is made.
    pub(crate) rounds: u32,
    /// The answers of metrics endpoints are kept for evidence.
    pub(crate) keeps_answers: bool,
    /// Light snapshots are refused: what is used, and what may be.
    pub(crate) refused: Option<(u64, u64)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            mappings: 1,
            ring: 1,
            probes: true,
            rounds: 1,
            keeps_answers: true,
            refused: None,
        }
    }
}

/// Holds us to the budget.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// Since the last step for CPU, at most a window: what was used under the present one.
    measures: VecDeque<(Duration, Duration)>,
    cpu_steps: usize,
    memory_steps: usize,
    /// Since when memory has asked for another step, up or down.
    memory_asks: Option<(Duration, bool)>,
    memory_bytes: u64,
    allowed: Allowed,
    taken: [u64; 7],
}

impl Keeper {
    /// Takes a measure in. Says whether a step was taken, either way.
    pub(crate) fn take(&mut self, measure: Measure, allowed: Allowed) -> bool {
        self.allowed = allowed;
        self.memory_bytes = measure.memory_bytes;
        let of_cpu = self.step_for_cpu(&measure);
        let of_memory = self.step_for_memory(&measure);
        of_cpu || of_memory
    }

    fn step_for_cpu(&mut self, measure: &Measure) -> bool {
        let last = self.measures.back();
        if last.is_some_and(|(_, cpu)| measure.cpu < *cpu) {
            // One of our processes was replaced, and its time is gone with it.
            self.measures.clear();
        }
        self.measures.push_back((measure.at, measure.cpu));
        let begin = measure.at.saturating_sub(self.allowed.window);
        while self.measures.get(1).is_some_and(|(at, _)| *at <= begin) {
            self.measures.pop_front();
        }
        let whole = self.measures.front().is_some_and(|(at, _)| *at <= begin);
        let Some(used) = self.cpu_cores().filter(|_| whole && measure.at > begin) else {
            return false;
        };
        let steps = self.cpu_steps;
        if used > self.allowed.cpu_cores && steps < Step::FOR_CPU.len() {
            self.cpu_steps += 1;
            self.taken[steps] += 1;
        } else if used < CPU_CALM * self.allowed.cpu_cores && steps > 0 {
            self.cpu_steps -= 1;
        } else {
            return false;
        }
        // The next step is decided by what this one has brought, over a whole window.
        self.measures.drain(..self.measures.len() - 1);
        true
    }

    fn step_for_memory(&mut self, measure: &Measure) -> bool {
        let steps = self.memory_steps;
        let part = measure.memory_bytes as f64 / self.allowed.memory_bytes.max(1) as f64;
        let more = MEMORY_STEPS.get(steps).is_some_and(|above| part > *above);
        let less = steps > 0 && part < MEMORY_CALM * MEMORY_STEPS[steps - 1];
        let asks = (more || less).then_some(more);
        let since = self.memory_asks.filter(|(_, way)| asks == Some(*way));
        let since = since.map_or(measure.at, |(since, _)| since);
        self.memory_asks = asks.map(|way| (since, way));
        let patience = self.allowed.window / MEMORY_PATIENCE;
        if asks.is_none() || measure.at < since + patience {
            return false;
        }
        self.memory_asks = None;
        if more {
            self.memory_steps += 1;
            self.taken[Step::FOR_CPU.len() + steps] += 1;
        } else {
            self.memory_steps -= 1;
        }
        true
    }

    /// Cores used on average, over the window or since the last step; `None` before the second measure.
    pub(crate) fn cpu_cores(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.measures.front()?, self.measures.back()?);
        let seconds = to.saturating_sub(*from).as_secs_f64();
        (seconds > 0.0).then(|| after.saturating_sub(*before).as_secs_f64() / seconds)
    }

    /// What may be used, by the last measure.
    pub(crate) fn allowed(&self) -> Allowed {
        self.allowed
    }

    /// Whether a step is taken now.
    pub(crate) fn has(&self, step: Step) -> bool {
        let mut now = Step::FOR_CPU.iter().take(self.cpu_steps);
        let mut memory = Step::FOR_MEMORY.iter().take(self.memory_steps);
        now.any(|have| *have == step) || memory.any(|have| *have == step)
    }

    /// How often a step was taken since the start.
    pub(crate) fn taken(&self, step: Step) -> u64 {
        let place = Step::all().position(|have| have == step);
        place.map_or(0, |place| self.taken[place])
    }

    /// How a target is to be read, by whether it is calm.
    pub(crate) fn pace(&self, calm: bool) -> Pace {
        let times = |step, times| if self.has(step) { times } else { 1 };
        Pace {
            mappings: times(Step::Mappings, 10),
            ring: times(Step::Ring, 6),
            probes: !self.has(Step::Probes),
            rounds: if calm { times(Step::CalmTargets, 4) } else { 1 },
            keeps_answers: !self.has(Step::Caches),
            refused: self.has(Step::Snapshots).then(|| self.memory()),
        }
    }

    /// Why a profile for an incident is put off, where it is.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.has(Step::Captures).then(|| refusal(self.memory()))
    }

    fn memory(&self) -> (u64, u64) {
        (self.memory_bytes, self.allowed.memory_bytes)
    }
}

/// That nothing is taken because of our own memory: what is used, and what may be.
pub(crate) fn refusal((used_bytes, budget_bytes): (u64, u64)) -> Refusal {
    Refusal::OverBudget {
        used_bytes,
        budget_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 300;

    /// A keeper that is measured each ten seconds.
    #[derive(Default)]
    struct Run {
        keeper: Keeper,
        at: u64,
        cpu: f64,
    }

    impl Run {
        /// Goes on for so many seconds at so many percent of a core and so many MiB; what is left for
        /// later at the end.
        fn on(&mut self, seconds: u64, percent: f64, mib: u64) -> Vec<&'static str> {
            for _ in 0..seconds / 10 {
                self.at += 10;
                self.cpu += percent / 10.0;
                let measure = Measure {
                    at: Duration::from_secs(self.at),
                    cpu: Duration::from_secs_f64(self.cpu),
                    memory_bytes: mib << 20,
                };
                let allowed = Allowed {
                    cpu_cores: 0.01,
                    memory_bytes: 100 << 20,
                    window: Duration::from_secs(WINDOW),
                };
                self.keeper.take(measure, allowed);
            }
            let now = Step::all().filter(|step| self.keeper.has(*step));
            now.map(Step::as_str).collect()
        }
    }

    #[test]
    fn optional_work_goes_in_order_and_comes_back_by_itself() {
        let mut run = Run::default();
        assert!(run.on(WINDOW, 5.0, 10).is_empty(), "no whole window yet");
        assert_eq!(run.on(10, 5.0, 10), ["mappings"]);
        assert_eq!(run.on(WINDOW - 10, 5.0, 10), ["mappings"], "it has to show");
        assert_eq!(run.on(10, 5.0, 10), ["mappings", "ring"]);
        assert_eq!(run.on(2 * WINDOW, 5.0, 10).len(), 4);
        assert_eq!(run.on(5 * WINDOW, 5.0, 10).len(), 4, "there is no more");
        assert_eq!(run.keeper.pace(true).rounds, 4);
        assert_eq!(run.keeper.pace(false).rounds, 1, "whoever grows is watched");
        assert_eq!(
            run.on(5 * WINDOW, 0.8, 10).len(),
            4,
            "just below is no calm"
        );
        let mut left: Vec<_> = (0..6).map(|_| run.on(WINDOW, 0.5, 10).len()).collect();
        left.dedup();
        assert_eq!(left.last(), Some(&0), "{left:?}");
        assert!(left.is_sorted_by(|a, b| a >= b), "{left:?}");
        assert_eq!(run.keeper.pace(true), Pace::default());
        assert_eq!(run.keeper.taken(Step::Ring), 1);
    }

    #[test]
    fn a_burst_is_no_state() {
        let mut run = Run::default();
        run.on(2 * WINDOW, 0.3, 50);
        assert!(run.on(10, 20.0, 400).is_empty(), "0.9 % on average");
        assert!(run.on(2 * WINDOW, 0.3, 50).is_empty());
    }

    #[test]
    fn memory_costs_caches_first_and_evidence_last() {
        let mut run = Run::default();
        assert!(run.on(50, 0.1, 120).is_empty());
        assert_eq!(run.on(20, 0.1, 120), ["caches"]);
        assert_eq!(run.on(WINDOW, 0.1, 120), ["caches"], "a bit too much");
        assert!(!run.keeper.pace(true).keeps_answers);
        assert_eq!(run.on(70, 0.1, 130), ["caches", "snapshots"]);
        assert_eq!(run.keeper.pace(true).refused, Some((130 << 20, 100 << 20)));
        assert_eq!(run.keeper.refusal(), None, "incidents keep theirs");
        assert_eq!(run.on(70, 0.1, 151).len(), 3);
        let refusal = run.keeper.refusal().unwrap();
        assert!(refusal.is_passing() && matches!(refusal, Refusal::OverBudget { .. }));
        assert_eq!(run.on(WINDOW, 0.1, 140).len(), 3, "no calm yet");
        assert!(run.on(WINDOW, 0.1, 80).is_empty());
        assert_eq!(run.keeper.taken(Step::Captures), 1);
    }

    #[test]
    fn a_process_that_was_replaced_is_no_saving() {
        let mut run = Run::default();
        run.on(2 * WINDOW, 5.0, 10);
        run.cpu = 0.0;
        assert_eq!(run.on(WINDOW, 0.1, 10), ["mappings"], "not a whole window");
        assert_eq!(run.keeper.cpu_cores().map(|c| c < 0.002), Some(true));
    }
}
